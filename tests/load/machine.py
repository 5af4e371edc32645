"""What a measurement needs from the machine: tools, a namespace, pinned processes, their CPU time and memory.

Knows nothing about proxies and compares nothing; all other files here call it. Every process is ended by its own pid.
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
PACKAGES = {"laneway-proxy": "laneway-proxy"}  # of programs that are not of the tests
LAST_LINES = 6  # that an error repeats of what a process said
REALTIME_PRIORITY = 10  # of 1 to 99: above everybody who has not asked, below what keeps the machine alive


def say(text):
    """For people: stdout belongs to the results."""
    print(text, file=sys.stderr, flush=True)


# ---- tools ----
def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def build(profile, *programs):
    """Builds programs of the workspace (all, unless some are named) and returns the folder they are in."""
    say(f"building {', '.join(programs) or 'all programs'} (profile {profile})")
    # One package at a time: together they would get the features of all of them, as no package for users has.
    for which in [["-p", PACKAGES.get(program, "laneway-tests"), "--bin", program] for program in programs] or [["--workspace", "--bins"]]:
        subprocess.run(["cargo", "build", "--profile", profile, *which], cwd=ROOT, check=True, stdout=sys.stderr)
    meta = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, check=True, capture_output=True)
    return Path(json.loads(meta.stdout)["target_directory"]) / profile


def version(name):
    """Of an installed peer."""
    out = subprocess.run([find(name), "--version" if name == "envoy" else "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", (out.stdout + out.stderr).rpartition("version")[2])
    return found[0] if found else None


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


def allow_many_connections():
    """A connection that a client closes keeps its port for a minute; a load that opens 10,000 a second needs it again."""
    if os.environ.get("LANEWAY_BENCH_ISOLATED") != "1":
        return say("not in a namespace of our own: the load of new connections may run out of ports")
    # The lower ports are the proxies' own.
    for name, value in (("ip_local_port_range", "20000 65535"), ("tcp_tw_reuse", "1")):
        Path(f"/proc/sys/net/ipv4/{name}").write_text(value)


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
            "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_tw_reuse", "net.core.somaxconn", "kernel.sched_autogroup_enabled")},
    }


def core(wanted):
    return wanted if wanted in os.sched_getaffinity(0) else min(os.sched_getaffinity(0))


# ---- processes ----
def pinned(wanted, argv):
    return ["taskset", "-c", str(core(wanted)), *map(str, argv)]


@contextlib.contextmanager
def realtime(*pids):
    """We, what we start, and these processes come before all other work for the time of the block, where that is permitted
    (SCHED_FIFO). Yields whether it is."""
    everyone = [tid for pid in (os.getpid(), *pids) for tid in threads(pid)]
    permitted = True
    try:
        for tid in everyone:
            os.sched_setscheduler(tid, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except OSError:
        permitted = False
    try:
        yield permitted
    finally:
        for tid in everyone:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(tid, os.SCHED_OTHER, os.sched_param(0))


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
        said = out.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise RuntimeError("\n".join([f"{name}: {error}", *said])) from error
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


def memory_kib(pid):
    """Heap and stacks, and all that is resident: pages of files (the program itself) may be shared, and come and go."""
    status = [Path(f"/proc/{one}/status").read_text() for one in tree(pid)]
    heap, resident = (sum(int(re.search(rf"{name}:\s+(\d+)", one)[1]) for one in status) for name in ("RssAnon", "VmRSS"))
    return {"heap": heap, "resident": resident}


def stolen_s():
    """Time that the hypervisor gave to others: a round with much of it is worth little."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / os.sysconf("SC_CLK_TCK")
