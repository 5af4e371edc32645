"""`./x bench counts`: what a request costs in numbers that noise does not move, held against those in counts.json.

User instructions (callgrind) and system calls (strace) of a route request on one connection, one after the other, and KiB for
each idle connection; and what a decision alone costs (decide.py). Ends with 1 where one is above its committed number by more
than the tolerance written beside it; `--write` commits what is measured, the references' too.
"""
import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import decide
import machine
import peers
from client import Client
from machine import say
from memory import idle_kib
from rounds import check

FILE = Path(__file__).with_name("counts.json")
# Requests of the two callgrind runs: what they differ by is requests alone, without start and end.
FEWER, MORE = 600, 3000
WARM_UP, TRACED = 200, 2000  # requests before strace looks, and under it
CALLGRIND_START_S = 120
# nginx would sleep through a signal that comes while it works.
SETTLE_S = 1
STOP_S = 60  # callgrind writes its file when the proxy ends
REFERENCES = ("nginx", "haproxy")
METRICS_PERCENT_MAX = 5
STATUS, SCRAPERS = "127.0.0.1:15421", 50  # ours, where nothing says otherwise; as many askers as never read
KEYS = {  # what is committed: its title, the tolerance that a new file starts with (percent), how it is printed
    "user_instructions": ("user instructions of a route request", 3, ",.0f"),
    "metrics_user_instructions": ("of them, what metrics by lane cost", 25, ",.0f"),
    "scraped_user_instructions": (f"the same while {SCRAPERS} scrapers never read", 3, ",.0f"),
    "syscalls": ("system calls of a route request", 3, ".2f"),
    "kib_per_idle_connection": ("KiB for each idle connection", 3, ".2f"),
}


def instructions(name, command, scratch, scrapers=0):
    """User instructions of a route request: the slope between two runs."""
    fewer, more = (whole_run(name, command(scratch), count, scratch, scrapers) for count in (FEWER, MORE))
    return round((more - fewer) / (MORE - FEWER))


def whole_run(name, argv, requests, scratch, scrapers):
    out = Path(scratch) / f"{name}.callgrind"
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *map(str, argv)]
    with machine.running(f"{name}-callgrind", valgrind, scratch, pin=machine.PROXY_CORE, stop_timeout=STOP_S) as process:
        machine.wait_listening(process, peers.ROUTE, timeout=CALLGRIND_START_S)
        with scraped(process, scrapers):
            client = Client(peers.ROUTE)
            client.ask(requests)
            client.close()
        time.sleep(SETTLE_S)
    total = re.search(r"(?m)^(?:totals|summary): (\d+)", out.read_text())
    if not total:
        raise RuntimeError(f"{name}: callgrind wrote no total")
    return int(total[1])


@contextlib.contextmanager
def scraped(process, count):
    """So many clients of our status port have asked for the metrics, and read nothing, for the time of the block."""
    with contextlib.ExitStack() as held:
        if count:
            machine.wait_listening(process, STATUS)
        for _ in range(count):
            scraper = held.enter_context(socket.create_connection(machine.split(STATUS)))
            scraper.sendall(f"GET /metrics HTTP/1.1\r\nHost: {STATUS}\r\n\r\n".encode())
        if count:
            time.sleep(SETTLE_S)
        yield


def syscalls(name, command, scratch):
    """System calls of a route request, by name: all that the process does from the first request to the last."""
    table = Path(scratch) / f"{name}.strace"
    with machine.running(name, command(scratch), scratch, pin=machine.PROXY_CORE) as process:
        machine.wait_listening(process, peers.ROUTE)
        check(peers.ROUTE)
        client = Client(peers.ROUTE)
        client.ask(WARM_UP)
        strace = ["strace", "-f", "-c", "-o", str(table), *(f"--attach={pid}" for pid in machine.tree(process.pid))]
        with machine.running(f"{name}-strace", strace, scratch) as tracer:
            wait_traced(process.pid, tracer)
            client.ask(TRACED)
        client.close()
    # % time, seconds, microseconds a call, calls, errors if any, name
    lines = [line.split() for line in table.read_text().splitlines()]
    calls = {line[-1]: int(line[3]) for line in lines if len(line) >= 5 and line[3].isdigit() and line[-1] != "total"}
    by_name = {call: round(count / TRACED, 3) for call, count in sorted(calls.items(), key=lambda item: -item[1])}
    return {"sum": round(sum(calls.values()) / TRACED, 3), "by_name": {call: share for call, share in by_name.items() if share >= 0.01}}


def wait_traced(pid, tracer):
    end = time.monotonic() + 10
    while True:
        traced = [re.search(r"TracerPid:\s+(\d+)", Path(f"/proc/{pid}/task/{tid}/status").read_text())[1] for tid in machine.threads(pid)]
        if "0" not in traced:
            return
        if tracer.poll() is not None or time.monotonic() > end:
            raise RuntimeError("strace does not attach")
        time.sleep(0.02)


def measure(name, command, scratch):
    """The committed figures of one proxy, and what explains them."""
    calls = syscalls(name, command, scratch)
    counted = {"user_instructions": instructions(name, command, scratch), "syscalls": calls["sum"],
               "kib_per_idle_connection": idle_kib(name, command, scratch)["per_connection"], "syscalls_by_name": calls["by_name"]}
    if name == "laneway":
        without = instructions(name, lambda folder: [*command(folder), "--metrics", "off"], scratch)
        counted["metrics_user_instructions"] = counted["user_instructions"] - without
        counted["scraped_user_instructions"] = instructions(name, command, scratch, SCRAPERS)
    return counted


def compare(measured, committed):
    """A line for each number, and whether it holds."""
    lines, is_well = [], True
    share = 100 * measured["metrics_user_instructions"] / (measured["user_instructions"] - measured["metrics_user_instructions"])
    verdict = "holds"
    if share > METRICS_PERCENT_MAX:
        verdict, is_well = f"ABOVE the goal of {METRICS_PERCENT_MAX} %", False
    lines.append(f"metrics on against off: {share:+.1f} % instructions, goal at most {METRICS_PERCENT_MAX} %: {verdict}")
    for key, (title, _, form) in KEYS.items():
        was, tolerance, now = committed[key]["count"], committed[key]["tolerance_percent"], measured[key]
        change = (now / was - 1) * 100
        verdict = "holds"
        if change > tolerance:
            verdict, is_well = f"ABOVE the tolerance of {tolerance} %", False
        elif change < -tolerance:
            verdict = "better: commit it with --write"
        lines.append(f"{title}: {now:{form}}, committed {was:{form}}, {change:+.1f} %: {verdict}")
    return lines, is_well


def main(argv):
    parser = argparse.ArgumentParser(prog="./x bench counts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxy", metavar="FILE", type=os.path.abspath, help="a laneway-proxy that is built already (default: build --release)")
    parser.add_argument("--write", action="store_true", help=f"commit what is measured to {FILE.name}, with {' and '.join(REFERENCES)}")
    args = parser.parse_args(argv)
    if missing := [program for program in ("nginx", "valgrind", "strace", "curl") if not machine.find(program)]:
        sys.exit(f"cannot count without {', '.join(missing)}")
    if not args.proxy:
        args.proxy = str(machine.build("release", "laneway-proxy") / "laneway-proxy")
        sys.argv += ["--proxy", args.proxy]
    # Before the network is gone that cargo may need.
    decide.build()
    machine.isolate()

    todo = {"laneway": peers.laneway(args.proxy)}
    if args.write:
        todo.update({name: peers.BUILDERS[name] for name in REFERENCES if machine.find(name)})
    with tempfile.TemporaryDirectory(prefix="laneway-counts-") as scratch:
        with machine.running("upstream", peers.upstream(scratch), scratch, pin=machine.LOAD_CORE) as upstream:
            machine.wait_listening(upstream, peers.BASE)
            measured = {name: measure(name, command, scratch) for name, command in todo.items()}
    decisions = decide.main(["--write"] if args.write else [])
    if args.write:
        return write(measured)
    lines, is_well = compare(measured["laneway"], json.loads(FILE.read_text())["laneway"])
    print("\n".join(lines))
    if not is_well:
        print(f"system calls by name: {measured['laneway']['syscalls_by_name']}")
        print("Make it cheaper again; or, where it is worth it, `./x bench counts --write` and say why in the commit.")
    return 0 if is_well and decisions == 0 else 1


def write(measured):
    """Tolerances that are in the file stay, and so do references that are not installed here."""
    old = json.loads(FILE.read_text()) if FILE.exists() else {}
    about = machine.describe()
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    ours = measured.pop("laneway")
    for key, (title, tolerance, form) in KEYS.items():
        tolerance = old.get("laneway", {}).get(key, {}).get("tolerance_percent", tolerance)
        print(f"{title}: {ours[key]:{form}}")
        ours[key] = {"count": ours[key], "tolerance_percent": tolerance}
    versions = {name: machine.version(name) for name in measured}
    new = {
        "measured_on": {"commit": about["commit"], "date": about["time"][:10], "rustc": rustc, "processor": about["processor"]},
        "laneway": ours,
        "references": {**old.get("references", {}), **{name: {"version": versions[name], **one} for name, one in measured.items()}},
    }
    FILE.write_text(json.dumps(new, indent=2) + "\n")
    say(f"wrote {FILE}")
    return 0
