"""`./x bench soak`: does a sidecar that has carried millions of requests hold more than one that has carried few?

Keep-alive requests with tags, and connections that live for one request, by turns, until so many requests were answered; then
9,000 connections at once that go away. After each turn the load rests and the process is looked at: resident memory, descriptors,
threads. Ends with 1 where a request was lost, memory grows by more than 0.1 byte a request between the first fifth and the
end, or descriptors or threads are not what they were.
"""
import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import loads
import machine
import peers
from client import Client
from machine import say

LOAD_PROGRAM = "laneway-bench-load"
KEPT_SECONDS, CHURN_SECONDS = 8, 2
REST_S = 1
SETTLED_S = 15  # longer than the ten seconds in which jemalloc gives back what is free
CROWD = 9000
SLOPE_MAX = 0.1  # bytes a request
HELD_MAX_KIB = 2048  # of the crowd


def main(argv):
    parser = argparse.ArgumentParser(prog="./x bench soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--crowd", type=int, default=CROWD, help="connections at once (default: %(default)s)")
    parser.add_argument("--proxy", metavar="FILE", type=os.path.abspath, help="a laneway-proxy that is built already (default: build --release)")
    parser.add_argument("--load-program", metavar="FILE", type=os.path.abspath, help=f"{LOAD_PROGRAM}, built already (default: build it)")
    parser.add_argument("--json", metavar="FILE|-", help="write one object; with - the table goes to stderr")
    args = parser.parse_args(argv)
    command = os.environ.setdefault("LANEWAY_BENCH_COMMAND", " ".join(["./x bench soak", *argv]))
    for flag, value, profile, program in (("--proxy", args.proxy, "release", "laneway-proxy"), ("--load-program", args.load_program, "quick", LOAD_PROGRAM)):
        if not value:
            value = str(machine.build(profile, program) / program)
            sys.argv += [flag, value]
            setattr(args, flag[2:].replace("-", "_"), value)
    if missing := [program for program in ("nginx", "wrk") if not machine.find(program)]:
        sys.exit(f"cannot soak without {', '.join(missing)}")
    machine.isolate()
    machine.allow_many_connections()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    with tempfile.TemporaryDirectory(prefix="laneway-soak-") as scratch:
        with machine.running("upstream", peers.upstream(scratch), scratch, pin=machine.LOAD_CORE) as upstream:
            machine.wait_listening(upstream, peers.BASE)
            command_line = [*peers.laneway(args.proxy)(scratch), "--connections-max", str(2 * args.crowd)]
            with machine.running("laneway", command_line, scratch, pin=machine.PROXY_CORE) as proxy:
                machine.wait_listening(proxy, peers.ROUTE, peers.PLAIN)
                result = soak(proxy.pid, args, loads.Tools(scratch, args.load_program))
    result = {"command": command, "machine": machine.describe(), **result}
    return report(result, args.json)


def soak(pid, args, tools):
    looks, answered, failed = [], 0, 0
    while answered < args.requests:
        for sent in (loads.LOADS["route"].send(peers.ROUTE, KEPT_SECONDS, tools), loads.LOADS["churn"].send(peers.PLAIN, CHURN_SECONDS, tools)):
            answered, failed = answered + sent["requests"], failed + sent["failed"]
        time.sleep(REST_S)
        looks.append(look(pid, answered))
        say(f"{answered:,} requests: {looks[-1]}")
    time.sleep(SETTLED_S)
    before = look(pid, answered)
    crowd = []
    for _ in range(args.crowd):
        # Asked at once: a client that is silent for a second gets an instance's connection of its own, which ends it when it likes.
        crowd.append(Client(peers.PLAIN))
        crowd[-1].ask(1)
    height = look(pid, answered)
    for client in crowd:
        client.close()
    time.sleep(SETTLED_S)
    return {"requests": answered, "failed": failed, "looks": looks, "settled": before, "crowd": args.crowd, "height": height, "after": look(pid, answered)}


def look(pid, answered):
    memory = machine.memory_kib(pid)
    return {"requests": answered, "heap_kib": memory["heap"], "resident_kib": memory["resident"],
            "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())), "threads": len(machine.threads(pid))}


def slope(looks):
    """Bytes a request, by least squares, between the first fifth and the end."""
    rows = [row for row in looks if row["requests"] >= looks[-1]["requests"] / 5]
    if len(rows) < 2:
        return 0.0
    mean_x = sum(row["requests"] for row in rows) / len(rows)
    mean_y = sum(row["resident_kib"] for row in rows) / len(rows)
    spread = sum((row["requests"] - mean_x) ** 2 for row in rows)
    return 1024 * sum((row["requests"] - mean_x) * (row["resident_kib"] - mean_y) for row in rows) / spread


def report(result, path):
    show = say if path == "-" else print
    first, last, settled, after = result["looks"][0], result["looks"][-1], result["settled"], result["after"]
    result["slope"] = round(slope(result["looks"]), 4)
    held = after["resident_kib"] - settled["resident_kib"]
    rows = [
        ("requests answered, lost", f"{result['requests']:,}, {result['failed']}", result["failed"] == 0, "0 lost"),
        ("resident after the first turn, at the end", f"{first['resident_kib'] / 1024:.1f}, {last['resident_kib'] / 1024:.1f} MiB", True, ""),
        ("growth between 20 % and 100 %", f"{result['slope']:+.3f} bytes a request", result["slope"] <= SLOPE_MAX, f"at most {SLOPE_MAX}"),
        ("descriptors at rest: first, last, after the crowd", f"{first['descriptors']}, {last['descriptors']}, {after['descriptors']}",
         after["descriptors"] <= first["descriptors"], "back to the first"),
        ("threads: first, last", f"{first['threads']}, {after['threads']}", after["threads"] == first["threads"], "the same"),
        (f"{result['crowd']:,} connections: resident before, with them, after", ", ".join(
            f"{look['resident_kib'] / 1024:.1f}" for look in (settled, result["height"], after)) + " MiB",
         held <= HELD_MAX_KIB, f"at most {HELD_MAX_KIB // 1024} MiB kept"),
    ]
    about = result["machine"]
    show(f"{result['command']}\n{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, commit {about['commit']}\n\n"
         "| figure | measured | must |\n| --- | --: | --- |")
    for title, measured, holds, must in rows:
        show(f"| {title} | {measured} | {must}{'' if holds else ' **MISSED**'} |")
    if path == "-":
        print(json.dumps(result))
    elif path:
        Path(path).write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(holds for _, _, holds, _ in rows) else 1
