#!/usr/bin/env python3
"""`./x bench`: our proxy beside nginx, HAProxy and Envoy, in the same interleaved rounds. `./x bench switch`: switch.py.

The figure to compare is CPU microseconds per request (run time of all the proxy's threads over requests completed), as a
ratio to nginx of the same round: other load and the machine's mood move microseconds by half, ratios by little. Only ratios
of one run compare. The proxy has core 1, instances and load have core 0. docs/performance.md has results and reading.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import peers
import switch
from machine import say

GOAL = 1.15  # times nginx on HTTP/1.1: what a hyper-based data path may cost; docs/performance.md
LOADS = {
    "h1": "HTTP/1.1 keep-alive, 64 connections, 12 headers, half of the requests tagged",
    "one": "HTTP/1.1, one connection",
    "h2c": "HTTP/2, 8 connections x 32 streams, 13 headers, tagged",
}
IDLE_CONNECTIONS = 1000
COUNTS = (640, 3840)  # requests of the two callgrind runs; the slope leaves start and end out


def check(address, h2):
    """A peer is measured only if it answers 200 with the whole body from the right group."""
    for tag, group in ((None, "base"), ("gray", "gray")):
        argv = ["curl", "-sS", "-m5", "-o", "/dev/null", "-D", "-", "-w", "%{http_code} %{size_download}", f"http://{address}/"]
        argv += ["--http2-prior-knowledge"] if h2 else []
        argv += ["-H", f"x-mse-tag: {tag}"] if tag else []
        end = time.monotonic() + 10
        while True:
            out = subprocess.run(argv, capture_output=True, text=True, check=False)
            if out.stdout.endswith(f"200 {peers.BODY}") and f"x-group: {group}" in out.stdout.lower():
                break
            if time.monotonic() > end:
                raise RuntimeError(f"tag {tag} on {address}: wanted 200 from {group}, got {out.stdout} {out.stderr}")
            time.sleep(0.1)


def measure(process, load, address, seconds, scratch):
    """One load against one running peer (or an instance itself): requests, CPU time, latency."""
    def run(duration):
        if load == "h2c":
            return machine.h2load(address, 8, 32, duration)
        return machine.wrk(address, 1 if load == "one" else 64, duration, scratch)

    run(1)  # warm up
    cpu, stolen, start = machine.cpu_ns(process.pid) if process else 0, machine.stolen_s(), time.monotonic()
    row = run(seconds)
    wall = time.monotonic() - start
    if not row["requests"]:
        raise RuntimeError("not one request was answered")
    row.update(rps=round(row["requests"] / wall), stolen_s=round(machine.stolen_s() - stolen, 2))
    if process:
        cpu = machine.cpu_ns(process.pid) - cpu
        row.update(cpu_us=round(cpu / 1e3 / row["requests"], 3), busy=round(cpu / 1e9 / wall, 3))
    return row


def rounds(todo, loads, args, scratch):
    """Every peer once a round, in turns of a rotating order, a fresh process each time."""
    rows, broken = [], {}
    for number in range(args.rounds):
        names = list(todo)
        for name in names[number % len(names):] + names[:number % len(names)]:
            if name in broken:
                continue
            try:
                for row in one_peer(name, todo[name], loads, args, scratch):
                    rows.append({"round": number, "peer": name, **row})
                    say(f"round {number + 1} {name} {row['load']}: {row['cpu_us']:.1f} us/request, {row['requests']:,} requests")
            except Exception as error:  # one broken peer must not lose the others' rounds
                broken[name] = str(error)
                say(f"{name}: LEFT OUT: {error}")
    if "one" in loads:
        rows += [{"round": number, "peer": "direct", "load": "one", **measure(None, "one", peers.BASE, args.seconds, scratch)}
                 for number in range(args.rounds)]
    return rows, broken


def one_peer(name, command, loads, args, scratch):
    with machine.running(name, command(scratch), scratch, pin=machine.PROXY_CORE) as process:
        machine.wait_listening(process, peers.H1, peers.H2)
        for load in loads:
            address = peers.H2 if load == "h2c" else peers.H1
            check(address, load == "h2c")
            yield {"load": load, **measure(process, load, address, args.seconds, scratch)}


def memory(name, command, scratch):
    """KiB of heap for each of 1,000 connections that were used once and then rest."""
    with machine.running(name, command(scratch), scratch, pin=machine.PROXY_CORE) as process:
        machine.wait_listening(process, peers.H1)
        check(peers.H1, False)
        time.sleep(0.5)
        before = machine.anonymous_kib(process.pid)
        clients = []
        for _ in range(IDLE_CONNECTIONS):
            clients.append(machine.Client(peers.H1))
            clients[-1].send()
            clients[-1].receive()
        time.sleep(1.5)
        after = machine.anonymous_kib(process.pid)
        for client in clients:
            client.close()
    return {"idle_kib": before, "per_connection_kib": round((after - before) / IDLE_CONNECTIONS, 2)}


def slope(name, command, scratch):
    """User instructions per request: what CPU time cannot show through noise."""
    low, high = (machine.instructions(name, command(scratch), peers.H1, count, scratch) for count in COUNTS)
    return round((high - low) / (COUNTS[1] - COUNTS[0]))


def summarize(rows):
    """Per load and peer: median figures, and the ratio to nginx of the same round."""
    summary = {}
    for load in LOADS:
        nginx = {row["round"]: row["cpu_us"] for row in rows if (row["peer"], row["load"]) == ("nginx", load)}
        for name in dict.fromkeys(row["peer"] for row in rows if row["load"] == load):
            own = [row for row in rows if (row["peer"], row["load"]) == (name, load)]
            one = {key: statistics.median(row[key] for row in own) for key in ("cpu_us", "rps", "busy", "p50_us", "p99_us") if key in own[0]}
            ratios = [round(row["cpu_us"] / nginx[row["round"]], 3) for row in own if row["round"] in nginx and "cpu_us" in row]
            if ratios:
                one["x_nginx"] = {"median": round(statistics.median(ratios), 3), "min": min(ratios), "max": max(ratios), "rounds": ratios}
            one["cpu_us_rounds"] = [row["cpu_us"] for row in own if "cpu_us" in row]
            summary.setdefault(load, {})[name] = {**one, "failed": sum(row["failed"] for row in own)}
    return summary


def table(result):
    """The result as Markdown, all rounds shown."""
    lines = []
    for load, by_peer in result["summary"].items():
        lines += ["", f"**{load}: {LOADS[load]}**", "",
                  "| proxy | x nginx, median | min - max | rounds | CPU us/request by round | busy | requests/s | p50 us | p99 us |",
                  "| --- | --: | --: | --- | --- | --: | --: | --: | --: |"]
        for name, one in by_peer.items():
            ratio = one.get("x_nginx", {})
            lines.append(" | ".join([
                f"| {name}", number(ratio.get("median"), ".2f"),
                f"{ratio['min']:.2f} - {ratio['max']:.2f}" if ratio else "", " ".join(f"{r:.2f}" for r in ratio.get("rounds", [])),
                " ".join(f"{us:.1f}" for us in one["cpu_us_rounds"]), number(one.get("busy"), ".0%"), number(one["rps"], ",.0f"),
                number(one.get("p50_us"), ".0f"), number(one.get("p99_us"), ".0f") + " |"]))
    if result["instructions"] or result["memory"]:
        lines += ["", f"| proxy | user instructions/request | KiB per idle connection (of {IDLE_CONNECTIONS:,}) | heap MiB before |", "| --- | --: | --: | --: |"]
        for name in dict.fromkeys([*result["memory"], *result["instructions"]]):
            kib = result["memory"].get(name, {})
            lines.append(f"| {name} | {number(result['instructions'].get(name), ',')} | {number(kib.get('per_connection_kib'), '.2f')} | "
                         f"{number(kib['idle_kib'] / 1024 if kib else None, '.1f')} |")
    return "\n".join(lines)


def number(value, form):
    return "" if value is None else format(value, form)


def goal(summary):
    ours = summary.get("h1", {}).get("laneway", {}).get("x_nginx")
    if not ours:
        return {"limit": GOAL, "measured": None, "met": None}
    return {"limit": GOAL, "measured": ours["median"], "met": ours["median"] <= GOAL}


def main():
    if sys.argv[1:2] == ["switch"]:
        return switch.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="./x bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="laneway,nginx,haproxy,envoy", help="which proxies (default: %(default)s); nginx is the reference")
    parser.add_argument("--loads", default=",".join(LOADS), help="which loads (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load in each round")
    parser.add_argument("--proxy", metavar="FILE", type=os.path.abspath, help="a laneway-proxy that is built already (default: build --release)")
    parser.add_argument("--no-callgrind", action="store_true", help="leave the instruction counts out")
    parser.add_argument("--no-memory", action="store_true", help="leave the idle connections out")
    parser.add_argument("--json", metavar="FILE|-", help="write one object; with - the table goes to stderr")
    args = parser.parse_args()

    command = " ".join(["./x bench", *sys.argv[1:]])
    loads, wanted = args.loads.split(","), args.peers.split(",")
    if unknown := [load for load in loads if load not in LOADS] + [p for p in wanted if p not in ("laneway", "nginx", "haproxy", "envoy")]:
        parser.error(f"unknown: {', '.join(unknown)}")
    # Built before root enters a namespace without a way out.
    if not args.proxy and "laneway" in wanted:
        args.proxy = str(machine.build("release", "laneway-proxy") / "laneway-proxy")
        sys.argv += ["--proxy", args.proxy]
    if missing := [program for program in ("nginx", "wrk", "curl", "taskset", "ip") if not machine.find(program)]:
        sys.exit(f"cannot measure without {', '.join(missing)}")
    if "h2c" in loads and not machine.find("h2load"):
        say("LEFT OUT: h2c: no h2load")
        loads.remove("h2c")
    available = {"laneway": args.proxy, **{name: machine.find(name) for name in ("nginx", "haproxy", "envoy")}}
    machine.isolate()

    builders = {"laneway": peers.laneway(args.proxy), "nginx": peers.nginx, "haproxy": peers.haproxy, "envoy": peers.envoy}
    todo = {name: builders[name] for name in wanted if available[name]}
    left_out = {name: "not installed" for name in wanted if not available[name]}
    result = {"command": command, "machine": machine.describe(), "rounds": args.rounds, "seconds": args.seconds}
    result["versions"] = {name: version(name, available[name]) for name in todo}
    with tempfile.TemporaryDirectory(prefix="laneway-bench-") as scratch:
        with machine.running("upstream", peers.upstream(scratch), scratch, pin=machine.LOAD_CORE) as upstream:
            machine.wait_listening(upstream, peers.BASE)
            rows, broken = rounds(todo, loads, args, scratch)
            well = {name: command for name, command in todo.items() if name not in broken}
            result["memory"] = {} if args.no_memory else {name: memory(name, command, scratch) for name, command in well.items()}
            counted = {} if args.no_callgrind or not machine.find("valgrind") else {n: c for n, c in well.items() if n != "envoy"}
            result["instructions"] = {name: slope(name, command, scratch) for name, command in counted.items()}
    result.update(left_out={**left_out, **broken}, measurements=rows, summary=summarize(rows))
    result["machine"]["load_average_after"] = os.getloadavg()
    result["goal"] = goal(result["summary"])
    return report(result, args.json)


def version(name, program):
    if name == "laneway":
        return machine.describe()["commit"]
    out = subprocess.run([program, "--version" if name == "envoy" else "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", (out.stdout + out.stderr).rpartition("version")[2])
    return found[0] if found else None


def report(result, path):
    """Prints, and returns the exit status: 1 if anything asked for was not measured or a request failed."""
    show = say if path == "-" else print
    about = result["machine"]
    show(f"{result['command']}\n{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, commit {about['commit']}, load average "
         f"{about['load_average'][0]:.1f} to {about['load_average_after'][0]:.1f}\n"
         + "\n".join(f"{key} = {value}" for key, value in about["sysctl"].items()) + f"\n{result['versions']}\n{table(result)}\n")
    for name, why in result["left_out"].items():
        show(f"LEFT OUT: {name}: {why}")
    failed = sum(one["failed"] for by_peer in result["summary"].values() for one in by_peer.values())
    if failed:
        show(f"FAILED: {failed} requests were not answered well")
    met = {True: "met", False: "MISSED", None: "not measured"}[result["goal"]["met"]]
    show(f"goal: laneway at most {GOAL} x nginx on HTTP/1.1 (median of rounds): {result['goal']['measured'] or '-'}: {met}")
    if path == "-":
        print(json.dumps(result))
    elif path:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed or result["left_out"] else 0


if __name__ == "__main__":
    sys.exit(main())
