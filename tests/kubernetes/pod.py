"""A pod all of whose containers run: in a network namespace with the pod's address, each as a process with the command, environment and
volumes of its manifest, in the order that a kubelet keeps. For pods with the annotation `laneway.test/run`.

    test's network ── veth, 169.254.1.1 ─── eth0, the pod's address ── laneway-init (ends), laneway-proxy, the application
"""
import os
import re
import subprocess
import urllib.error
import urllib.request

# Where a pod sends what is not its own; the other end of its veth has it.
GATEWAY = "169.254.1.1"
INIT_TIMEOUT_S = 60
PROBE_TIMEOUT_S = 2
FIELD = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


class Pod:
    """`step`, and in the end `end`, is called again and again; it does what can be done by now, and says whether the pod is ready."""

    def __init__(self, kubelet, pod, address):
        self.kubelet, self.pod, self.address = kubelet, pod, address
        self.folder = kubelet.cluster.folder / "pods" / pod["metadata"]["name"]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hosts = self.folder / "hosts"
        # What holds the namespace, as a pause container does.
        self.pause, self.processes = None, {}

    def step(self, hosts):
        if not self.hosts.exists() or self.hosts.read_text() != hosts:
            # In place: it is mounted.
            self.hosts.write_text(hosts)
        spec = self.pod["spec"]
        if self.pause is None:
            self.connect()
            for container in spec.get("initContainers", []):
                process = self.run(container)
                if container.get("restartPolicy") == "Always":
                    self.processes[container["name"]] = process
                elif status := process.wait(INIT_TIMEOUT_S):
                    raise RuntimeError(f"{container['name']} of {self.folder.name} ended with {status}: {self.log()}")
        # The application starts when the sidecar has.
        if not all(self.answers(container.get("startupProbe")) for container in spec.get("initContainers", [])):
            return False
        for container in spec["containers"]:
            if container["name"] not in self.processes:
                self.processes[container["name"]] = self.run(container)
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} of {self.folder.name} ended with {process.returncode}: {self.log()}")
        return all(self.answers(container.get("readinessProbe")) for container in spec["containers"] + spec.get("initContainers", []))

    def connect(self):
        self.pause = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.pause.pid}/ns/net") == own:
            if self.pause.poll() is not None:
                raise RuntimeError("no network namespace can be made")
        inside = f"nsenter --net=/proc/{self.pause.pid}/ns/net ip"
        outside = f"v{self.pause.pid}"
        script = "\n".join([
            f"ip link add {outside} type veth peer name eth0 netns {self.pause.pid}",
            f"{inside} link set lo up", f"{inside} address add {self.address}/32 dev eth0", f"{inside} link set eth0 up",
            f"{inside} route add {GATEWAY} dev eth0", f"{inside} route add default via {GATEWAY}",
            f"ip address add {GATEWAY}/32 dev {outside}", f"ip link set {outside} up", f"ip route add {self.address}/32 dev {outside}",
            "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        subprocess.run(["sh", "-euc", script], check=True, timeout=INIT_TIMEOUT_S)

    def run(self, container):
        variables = {"PATH": os.environ["PATH"], **{one["name"]: self.value(one) for one in container.get("env", [])}}
        # Nothing that is written stays on this machine.
        lines = ["mount -t tmpfs none /run", "mount -t tmpfs none /var/lib", f"mount --bind {self.hosts} /etc/hosts"]
        volumes = {volume["name"]: volume for volume in self.pod["spec"].get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            source = self.volume(volumes[mount["name"]])
            lines.append(f"mkdir -p {mount['mountPath']} && mount --bind {source} {mount['mountPath']}")
        words = container["command"] + container.get("args", [])
        own = self.kubelet.programs / words[0]
        words = [str(own) if own.exists() else words[0], *words[1:]]
        user = container.get("securityContext", {}).get("runAsUser", 0)
        script = " && ".join([*lines, f"exec setpriv --reuid {user} --regid {user} --clear-groups \"$@\""])
        command = ["nsenter", f"--net=/proc/{self.pause.pid}/ns/net", "unshare", "--mount", "sh", "-c", script, "sh", *words]
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")

    def value(self, variable):
        if "valueFrom" not in variable:
            return variable.get("value", "")
        meta, path = self.pod["metadata"], variable["valueFrom"]["fieldRef"]["fieldPath"]
        if keyed := FIELD.fullmatch(path):
            return meta.get(keyed[1], {}).get(keyed[2], "")
        return {"metadata.namespace": meta["namespace"], "metadata.name": meta["name"], "status.podIP": self.address, "status.podIPs": self.address}[path]

    def volume(self, volume):
        folder = self.folder / volume["name"]
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o777)
            if projected := volume.get("projected"):
                self.kubelet.write_projected(self.pod, projected["sources"], folder)
        return folder

    def answers(self, probe):
        """Asked from the node; only probes that are there, and ask by HTTP."""
        if not probe or "httpGet" not in probe:
            return True
        asked = probe["httpGet"]
        try:
            with urllib.request.urlopen(f"http://{self.address}:{asked['port']}{asked['path']}", timeout=PROBE_TIMEOUT_S) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-1500:]

    def end(self):
        """The application first, then its sidecars. True: all have ended."""
        applications = {container["name"] for container in self.pod["spec"]["containers"]}
        for are_applications in (True, False):
            alive = [process for name, process in self.processes.items() if (name in applications) == are_applications and process.poll() is None]
            for process in alive:
                process.terminate()
            if alive:
                return False
        self.kill()
        return True

    def kill(self):
        for process in [*self.processes.values(), self.pause]:
            if process:
                process.kill()
                process.wait()
