"""What a node and its kubelet would do, as far as the API server sees it: pods are bound, get an address and become ready; the control
plane's own pods run for real, each as a process with the command, environment and volumes of its manifest.

The addresses are local ones of the network namespace that the whole test runs in, unless a pod has the annotation `laneway.test/run`: all of it
runs then, in a network of its own (pod.py). A pod with the annotation `laneway.test/unready` is not ready.
"""
import base64
import json
import os
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

from cluster import TOKEN
from pod import Pod

NODE = "node-1"
POLL_S = 0.2
PROBE_TIMEOUT_S = 2


class Kubelet:
    """Looks every POLL_S at all pods. `programs` is the folder that has the images' programs."""

    def __init__(self, cluster, programs):
        self.cluster, self.programs = cluster, programs
        self.addresses, self.running, self.stopping = {}, {}, {}
        # Pods all of which runs, by uid; those that end stay until they have.
        self.whole = {}
        self.hosts = ""
        self.trouble = []
        # Of pods all of which run: what a container ended with.
        self.broken = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.call("POST", "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE}})
        self.thread.start()

    def stop(self):
        self.ended.set()
        self.thread.join(10)
        for process in [*self.running.values(), *(process for process, _ in self.stopping.values())]:
            process.kill()
            process.wait()
        for pod in self.whole.values():
            pod.kill()

    def run(self):
        while not self.ended.wait(POLL_S):
            try:
                pods = self.call("GET", "/api/v1/pods")["items"]
                self.hosts = hosts(pods)
                for pod in pods:
                    self.look_at(pod)
                there = {pod["metadata"]["uid"] for pod in pods}
                for uid in [uid for uid in self.running if uid not in there]:
                    self.running.pop(uid).kill()
                for uid in [uid for uid in self.whole if uid not in there]:
                    self.whole.pop(uid).kill()
            except (OSError, urllib.error.URLError) as error:
                # The API server is being restarted, or somebody else was first.
                self.trouble.append(str(error))

    def check(self):
        """Whether a container ended that should not have, or did not that should."""
        if self.broken:
            raise RuntimeError("\n".join(self.broken.values()))

    def look_at(self, pod):
        meta, uid = pod["metadata"], pod["metadata"]["uid"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if meta.get("deletionTimestamp"):
            return self.end(pod, path)
        if pod["status"].get("phase") in ("Succeeded", "Failed"):
            return None
        if not pod["spec"].get("nodeName"):
            binding = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": meta["name"]}, "target": {"kind": "Node", "name": NODE}}
            self.call("POST", path + "/binding", binding)
        is_whole = "laneway.test/run" in meta.get("annotations", {})
        if uid not in self.addresses:
            self.addresses[uid] = f"10.244.{len(self.addresses) // 250}.{len(self.addresses) % 250 + 1}"
            if is_whole:
                self.whole[uid] = Pod(self, pod, self.addresses[uid])
                # Its containers are told what they are only when the API server knows it.
                return self.tell(pod, path, self.addresses[uid], False)
            subprocess.run(["ip", "address", "add", self.addresses[uid] + "/32", "dev", "lo"], check=True)
        address = self.addresses[uid]
        is_real = pod["spec"]["containers"][0]["name"] == "laneway-control"
        if is_real and (uid not in self.running or self.running[uid].poll() is not None):
            # Also again after it has ended: restartPolicy Always.
            self.running[uid] = self.start_process(pod, address)
        if is_whole:
            try:
                is_ready = self.whole[uid].step(self.hosts)
            except (RuntimeError, subprocess.SubprocessError) as error:
                self.broken[uid], is_ready = str(error), False
        elif is_real:
            is_ready = self.probe(pod["spec"]["containers"][0], address)
        else:
            is_ready = "laneway.test/unready" not in meta.get("annotations", {})
        return self.tell(pod, path, address, is_ready)

    def tell(self, pod, path, address, is_ready):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        word = "True" if is_ready else "False"
        before = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
        if before.get("Ready") == word and pod["status"].get("podIP") == address:
            return
        conditions = [{"type": kind, "status": word, "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": pod["status"].get("startTime", now), "conditions": conditions}
        self.call("PATCH", path + "/status", {"status": status}, "application/strategic-merge-patch+json")

    def end(self, pod, path):
        uid = pod["metadata"]["uid"]
        if whole := self.whole.get(uid):
            if whole.end():
                self.whole.pop(uid)
                self.call("DELETE", path, {"gracePeriodSeconds": 0})
            return
        process = self.running.pop(uid, None)
        if process:
            process.terminate()
            self.stopping[uid] = process, time.monotonic() + pod["metadata"]["deletionGracePeriodSeconds"]
        process, killed_at = self.stopping.get(uid, (None, None))
        if process and process.poll() is None:
            if time.monotonic() > killed_at:
                self.broken[uid] = f"{pod['metadata']['name']} did not end within its grace"
                process.kill()
            return
        if uid not in self.stopping and "laneway.test/linger" in pod["metadata"].get("annotations", {}):
            return
        self.call("DELETE", path, {"gracePeriodSeconds": 0})

    def probe(self, container, address):
        probe = container["readinessProbe"]["httpGet"]
        port = next(port["containerPort"] for port in container["ports"] if port["name"] == probe["port"])
        blind = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(f"{probe['scheme'].lower()}://{address}:{port}{probe['path']}", timeout=PROBE_TIMEOUT_S, context=blind) as answer:
                return answer.status == 200
        except OSError:
            return False

    def start_process(self, pod, address):
        """The first container, as its manifest says; mounted is what the kubelet would mount."""
        meta, container = pod["metadata"], pod["spec"]["containers"][0]
        folder = self.cluster.folder / "pods" / meta["name"]
        account, own = folder / "account", folder / "own"
        own.mkdir(parents=True, exist_ok=True)
        fields = {"metadata.namespace": meta["namespace"], "metadata.name": meta["name"], "status.podIP": address}
        variables = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.cluster.ports["apiserver"])}
        for variable in container.get("env", []):
            variables[variable["name"]] = variable["value"] if "value" in variable else fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        mounts = {"/var/run/secrets/kubernetes.io/serviceaccount": account}
        self.write_account(pod, account)
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for mount in container["volumeMounts"]:
            if mount["mountPath"] in mounts:
                continue
            mounts[mount["mountPath"]] = own / mount["name"]
            self.write_projected(pod, volumes[mount["name"]]["projected"]["sources"], own / mount["name"])
        arguments = container["command"] + container.get("args", [])
        for name, value in variables.items():
            arguments = [argument.replace(f"$({name})", value) for argument in arguments]
        # A pod has a network of its own; here all share one, each with its own address.
        arguments = [argument.replace("[::]", address) for argument in arguments]
        user = pod["spec"]["securityContext"]["runAsUser"]
        lines = [f"mkdir -p {at} && mount --bind {source} {at}" for at, source in mounts.items()]
        # In a mount namespace of its own over what the test's own has already replaced.
        script = " && ".join(["mount -t tmpfs none /run", "mkdir -p /etc/laneway", *lines, f"exec setpriv --reuid {user} --regid {user} --clear-groups \"$@\""])
        program = [str(self.programs / arguments[0]), *arguments[1:]]
        with open(folder / "log", "ab") as log:
            return subprocess.Popen(["unshare", "--mount", "sh", "-c", script, "sh", *program], env={"PATH": os.environ["PATH"], **variables},
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")

    def write_account(self, pod, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_bytes((self.cluster.folder / "ca.pem").read_bytes())
        (folder / "namespace").write_text(pod["metadata"]["namespace"])
        (folder / "token").write_text(self.token(pod, None))

    def write_projected(self, pod, sources, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            if token := source.get("serviceAccountToken"):
                (folder / token["path"]).write_text(self.token(pod, token.get("audience")))
            if config := source.get("configMap"):
                threading.Thread(target=self.keep_config, args=(pod["metadata"]["namespace"], config, folder), daemon=True).start()

    def keep_config(self, namespace, config, folder):
        """A kubelet brings it when it is there, and anew when it changes."""
        while True:
            try:
                found = self.call("GET", f"/api/v1/namespaces/{namespace}/configmaps/{config['name']}")
                for item in config["items"]:
                    (folder / item["path"]).write_text(found["data"][item["key"]])
            except OSError:
                pass
            if self.ended.wait(1):
                return

    def token(self, pod, audience, seconds=3600):
        """Bound to the pod, as a kubelet asks for it."""
        meta, account = pod["metadata"], pod["spec"].get("serviceAccountName", "default")
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec = {"expirationSeconds": seconds, "boundObjectRef": bound, "audiences": [audience] if audience else []}
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
        return self.call("POST", path, body)["status"]["token"]

    def call(self, method, path, body=None, content_type="application/json"):
        context = ssl.create_default_context(cafile=self.cluster.folder / "ca.pem")
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": content_type}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.cluster.url() + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code in (404, 409):
                # Gone, or done by somebody else already: it is looked at again.
                raise OSError(f"{method} {path}: {error.code}") from error
            raise OSError(f"{method} {path}: {error.code} {error.read()[:500]!r}") from error


def hosts(pods):
    """What DNS and the cluster's own proxies make of the control plane's name, as a file."""
    replicas = [pod for pod in pods if pod["metadata"]["labels"].get("app.kubernetes.io/name") == "laneway-control"
                and not pod["metadata"].get("deletionTimestamp") and pod["status"].get("podIP")]
    lines = [f"{pod['status']['podIP']} laneway-control.{pod['metadata']['namespace']}.svc" for pod in replicas]
    return "\n".join(["127.0.0.1 localhost", *sorted(lines), ""])


def claims(token):
    """What a token says of itself."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
