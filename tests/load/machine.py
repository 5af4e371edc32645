"""What a measurement needs from the machine: tools, pinned processes, their CPU time and memory, and load.

Knows nothing about proxies and compares nothing; bench.py and switch.py call it. Every process is ended by its own pid.
"""
import contextlib
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD_CORE, PROXY_CORE = 0, 1

# A browser's request through a gateway. With Host that is twelve; every second request carries TAG as well.
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "Accept": "application/json, text/plain, */*",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
    "Content-Type": "application/json",
    "Cookie": "session=0123456789abcdef0123456789abcdef; lang=zh; theme=dark",
    "Authorization": "Bearer abcdefghijklmnopqrstuvwxyz0123456789",
    "X-Request-Id": "6f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "X-Forwarded-For": "10.1.2.3",
    "X-Forwarded-Proto": "http",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
TAG = ("x-mse-tag", "gray")
PATH = "/api/v1/orders?id=42"


def say(text):
    """For people: stdout belongs to the results."""
    print(text, file=sys.stderr, flush=True)


# ---- tools ----
def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def build(profile, *programs):
    """Builds programs of the workspace (all, unless some are named) and returns the folder they are in."""
    say(f"building {', '.join(programs) or 'all programs'} (profile {profile})")
    bins = [word for program in programs for word in ("--bin", program)] or ["--workspace", "--bins"]
    subprocess.run(["cargo", "build", "--profile", profile, *bins], cwd=ROOT, check=True, stdout=sys.stderr)
    meta = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, check=True, capture_output=True)
    return Path(json.loads(meta.stdout)["target_directory"]) / profile


# ---- where we run ----
def isolate():
    """As root: an own network namespace (nobody else's ports or rules) and scheduler preference. Does not return the first time."""
    if os.geteuid() == 0 and find("unshare") and os.environ.get("LANEWAY_BENCH_ISOLATED") != "1":
        os.environ["LANEWAY_BENCH_ISOLATED"] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: end with the caller, and with us what we started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if os.environ.get("LANEWAY_BENCH_ISOLATED") == "1":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        # `nice` acts only inside a scheduler autogroup, so the group itself is raised.
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text("-20")


def describe():
    """The record of the machine: figures mean nothing without it."""
    def read(path):
        try:
            return Path(path).read_text().strip()
        except OSError:
            return None

    model = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo") or "")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "commit": commit.stdout.strip() or None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": os.uname().release,
        "architecture": os.uname().machine,
        "processor": model[1] if model else None,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "own_namespace": os.environ.get("LANEWAY_BENCH_ISOLATED") == "1",
        "sysctl": {name: read("/proc/sys/" + name.replace(".", "/")) for name in (
            "net.ipv4.tcp_congestion_control", "net.ipv4.tcp_available_congestion_control", "net.core.default_qdisc",
            "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.core.somaxconn", "kernel.sched_autogroup_enabled")},
    }


def core(wanted):
    return wanted if wanted in os.sched_getaffinity(0) else min(os.sched_getaffinity(0))


# ---- processes ----
def pinned(wanted, argv):
    return ["taskset", "-c", str(core(wanted)), *map(str, argv)]


@contextlib.contextmanager
def running(name, argv, scratch, pin=None, env=None, stop_timeout=5):
    """Runs a process for the time of the block; its output goes to a file that an error shows the end of."""
    out = Path(scratch) / f"{name}.out"
    with out.open("ab") as log:
        process = subprocess.Popen(argv if pin is None else pinned(pin, argv), stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, cwd=scratch, env={**os.environ, **(env or {})})
    try:
        yield process
    except Exception as error:
        raise RuntimeError(f"{name}: {error}\n{out.read_text(errors='replace')[-2000:]}") from error
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(stop_timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_listening(process, *addresses, timeout=20):
    end = time.monotonic() + timeout
    for address in addresses:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"ended with status {process.returncode} before it listened on {address}")
            try:
                socket.create_connection(split(address), 0.5).close()
                break
            except OSError:
                if time.monotonic() > end:
                    raise RuntimeError(f"does not listen on {address}") from None
                time.sleep(0.05)


def split(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


def tree(pid):
    """A process and its descendants."""
    pids = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                pids += tree(int(child))
    return pids


def threads(pid):
    return [int(task.name) for one in tree(pid) for task in Path(f"/proc/{one}/task").iterdir()]


def cpu_ns(pid):
    """What the scheduler gave to all threads so far. Exact, unlike the sampled user and system times."""
    return sum(int(Path(f"/proc/{tid}/schedstat").read_text().split()[0]) for tid in threads(pid))


def anonymous_kib(pid):
    """Heap and stacks; pages of files are shared and come and go."""
    return sum(int(re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{one}/status").read_text())[1]) for one in tree(pid))


def stolen_s():
    """Time that the hypervisor gave to others: a round with much of it is worth little."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / os.sysconf("SC_CLK_TCK")


# ---- load ----
def wrk(address, connections, seconds, scratch):
    """HTTP/1.1 keep-alive load; every second request carries the tag."""
    script = Path(scratch) / "load.lua"
    script.write_text(f"""
local base, gray, count = nil, nil, 0
init = function()
{"".join(f"  wrk.headers['{name}'] = '{value}'" + chr(10) for name, value in HEADERS.items())}
  base = wrk.format("GET", "{PATH}")
  wrk.headers["{TAG[0]}"] = "{TAG[1]}"
  gray = wrk.format("GET", "{PATH}")
end
request = function() count = count + 1; if count % 2 == 0 then return base end return gray end
done = function(summary, latency)
  local e = summary.errors
  print(string.format('{{"requests": %d, "failed": %d, "p50_us": %.1f, "p99_us": %.1f}}', summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
""")
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://{address}"]
    out = subprocess.run(pinned(LOAD_CORE, argv), capture_output=True, text=True, timeout=seconds + 30)
    try:
        return json.loads(out.stdout.strip().rsplit("\n", 1)[-1])
    except ValueError:
        raise RuntimeError(f"wrk said: {out.stdout[-300:]} {out.stderr[-300:]}") from None


def h2load(address, connections, streams, seconds):
    """HTTP/2 with prior knowledge; every request carries the tag (h2load cannot vary headers)."""
    headers = [word for item in [*HEADERS.items(), TAG] for word in ("-H", f"{item[0].lower()}: {item[1]}")]
    argv = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", *headers, f"http://{address}{PATH}"]
    out = subprocess.run(pinned(LOAD_CORE, argv), capture_output=True, text=True, timeout=seconds + 30)
    count = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", out.stdout)
    if not count:
        raise RuntimeError(f"h2load said: {out.stdout[-300:]} {out.stderr[-300:]}")
    return {"requests": int(count[1]), "failed": int(count[2]) + int(count[3])}


def request_bytes(host, tagged):
    lines = [f"GET {PATH} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in HEADERS.items())]
    return "\r\n".join(lines + ([f"{TAG[0]}: {TAG[1]}"] if tagged else []) + ["", ""]).encode()


class Client:
    """One keep-alive connection that sends exactly what it is told to, for counts and for idle connections."""

    def __init__(self, address):
        self.host = address
        self.socket = socket.create_connection(split(address), 60)
        self.sent = 0

    def send(self):
        self.sent += 1
        self.socket.sendall(request_bytes(self.host, self.sent % 2 == 1))

    def receive(self):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.part()
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        if not head.startswith(b"HTTP/1.1 200") or not length:
            raise RuntimeError(f"answered {head[:200]!r}")
        missing = int(length[1]) - len(body)
        while missing > 0:
            missing -= len(self.part())

    def part(self):
        part = self.socket.recv(65536)
        if not part:
            raise RuntimeError("closed the connection")
        return part

    def close(self):
        self.socket.close()


def instructions(name, argv, address, requests, scratch, env=None, connections=64):
    """User instructions of a whole run that serves exactly so many requests, by callgrind."""
    out = Path(scratch) / f"{name}.callgrind"
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *map(str, argv)]
    with running(f"{name}-callgrind", valgrind, scratch, pin=PROXY_CORE, env=env, stop_timeout=60) as process:
        wait_listening(process, address, timeout=120)
        clients = [Client(address) for _ in range(connections)]
        for _ in range(requests // connections):
            for client in clients:
                client.send()
            for client in clients:
                client.receive()
        for client in clients:
            client.close()
    total = re.search(r"(?m)^(?:totals|summary): (\d+)", out.read_text())
    if not total:
        raise RuntimeError(f"{name}: callgrind wrote no total")
    return int(total[1])
