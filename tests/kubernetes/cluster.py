"""A throwaway Kubernetes on loopback: etcd, kube-apiserver and, unless refused, kube-controller-manager, all real.

There is no node and no scheduler: pods stay Pending, and whoever tests says in their status what a kubelet would say. Everything lies in
one folder, listens on free ports of 127.0.0.1, and ends with `Cluster.stop`.

    python3 cluster.py FOLDER           starts one and stays until it is told to end; prints the path of its kubeconfig
"""
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "kubernetes"
TOKEN = "throwaway-admin"
SERVICE_RANGE = "10.96.0.0/16"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 20
# Of the controllers, those that a cluster without nodes has work for.
CONTROLLERS = ("deployment-controller", "replicaset-controller", "statefulset-controller", "job-controller", "endpointslice-controller",
               "endpoints-controller", "serviceaccount-controller", "serviceaccount-token-controller", "root-ca-certificate-publisher-controller", "namespace-controller",
               "garbage-collector-controller", "disruption-controller")


class Cluster:
    """Started by `start`; `kubeconfig` is an administrator's."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.kubeconfig = self.folder / "kubeconfig"
        self.processes = {}
        self.ports = {}

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.make_keys()
        self.ports = dict(zip(("etcd", "etcd-peer", "apiserver"), free_ports(3)))
        self.start_etcd()
        self.start_apiserver()
        self.write_kubeconfig(self.kubeconfig, TOKEN)
        wait_for("the API server", lambda: self.get("/readyz") == b"ok", self.check_alive)
        self.start_controllers()
        wait_for("the ServiceAccount of the namespace default",
                 lambda: self.get("/api/v1/namespaces/default/serviceaccounts/default"), self.check_alive)
        return self

    def make_keys(self):
        """An authority, the API server's certificate, and the key that ServiceAccount tokens are signed by."""
        config = self.folder / "openssl.cnf"
        config.write_text("[server]\nsubjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\nextendedKeyUsage=serverAuth\n"
                          "[authority]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n[req]\ndistinguished_name=name\n[name]\n")
        def openssl(*arguments):
            subprocess.run(["openssl", *map(str, arguments)], cwd=self.folder, check=True, capture_output=True)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", config)
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=throwaway", "-days", 2, "-extensions", "authority")
        openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=kube-apiserver")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem", "-days", 2,
                "-extfile", config, "-extensions", "server")
        openssl("genrsa", "-out", "accounts.key", 2048)
        (self.folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")

    def start_etcd(self):
        client, peer = (f"http://127.0.0.1:{self.ports[name]}" for name in ("etcd", "etcd-peer"))
        self.spawn("etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
                   "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                   "--unsafe-no-fsync", "--log-level", "error")

    def start_apiserver(self):
        self.spawn("kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self.ports['etcd']}", "--bind-address=127.0.0.1",
                   f"--secure-port={self.ports['apiserver']}", "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
                   f"--cert-dir={self.folder}/certificates", "--tls-cert-file=server.pem", "--tls-private-key-file=server.key",
                   "--service-account-key-file=accounts.key", "--service-account-signing-key-file=accounts.key",
                   "--service-account-issuer=https://kubernetes.default.svc", f"--service-cluster-ip-range={SERVICE_RANGE}",
                   "--authorization-mode=RBAC", "--token-auth-file=tokens.csv", "--enable-aggregator-routing=true", "--allow-privileged=true",
                   "--watch-cache-sizes=pods#100", "--v=0")

    def start_controllers(self):
        self.spawn("kube-controller-manager", f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0",
                   f"--controllers={','.join(CONTROLLERS)}", "--service-account-private-key-file=accounts.key", "--root-ca-file=ca.pem", "--v=0")

    def write_kubeconfig(self, path, token):
        """One for whoever has that token."""
        named = lambda name, **rest: [{"name": name, **rest}]
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "throwaway",
                  "clusters": named("throwaway", cluster={"server": self.url(), "certificate-authority": str(self.folder / "ca.pem")}),
                  "users": named("user", user={"token": token}),
                  "contexts": named("throwaway", context={"cluster": "throwaway", "user": "user", "namespace": "default"})}
        path.write_text(json.dumps(config))
        return path

    def url(self):
        return f"https://127.0.0.1:{self.ports['apiserver']}"

    def spawn(self, program, *arguments):
        with open(self.folder / f"{program}.log", "ab") as log:
            self.processes[program] = subprocess.Popen([str(TOOLS / program), *map(str, arguments)], cwd=self.folder, stdin=subprocess.DEVNULL,
                                                       stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "HOME": str(self.folder)})

    def end(self, program, how=signal.SIGTERM):
        process = self.processes.pop(program, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self):
        for program in reversed(list(self.processes)):
            # Nothing here is kept, so nobody need put anything in order.
            self.end(program, signal.SIGKILL)

    def check_alive(self):
        for program, process in self.processes.items():
            if process.poll() is not None:
                log = (self.folder / f"{program}.log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{program} ended with status {process.returncode}:\n{log}")

    def get(self, path):
        import ssl
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        request = urllib.request.Request(self.url() + path, headers={"authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return answer.read()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(what, is_there, check=lambda: None, timeout_s=START_TIMEOUT_S):
    """What `is_there` gives, once it gives something."""
    end, last = time.monotonic() + timeout_s, None
    while time.monotonic() < end:
        check()
        try:
            if found := is_there():
                return found
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            last = error
        time.sleep(0.1)
    raise TimeoutError(f"{what} did not come within {timeout_s} s ({last})")


def main():
    cluster = Cluster(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        cluster.start()
        print(cluster.kubeconfig, flush=True)
        signal.pause()
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
