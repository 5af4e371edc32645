"""Runs the loads: every peer takes its turn in every round, and what is compared was measured within seconds of each other.

    for each round: for each load: for each peer (the first one another each time): start, check, warm up, measure, stop
"""
import contextlib
import statistics
import subprocess
import time

import machine
import peers
from loads import LOADS
from machine import say

WARM_UP_S = 1
ANSWER_DEADLINE_S = 10
DIRECT = "direct"  # the load without a proxy between; only where a time is read
DIRECT_LOADS = ("one", "latency")


def measure_all(todo, names, count, seconds, tools, upstream):
    """All measurements, and why a peer has none: {(peer, load): reason}."""
    rows, left_out = [], {}
    for number in range(count):
        for load in names:
            turn = [*todo, *([DIRECT] if load in DIRECT_LOADS else [])]
            shift = number % len(turn)
            for name in turn[shift:] + turn[:shift]:
                if (name, load) in left_out:
                    continue
                try:
                    row = one(name, todo.get(name), load, seconds, tools, upstream)
                except Exception as error:  # one broken peer must not lose the others' rounds
                    left_out[name, load] = str(error)
                    say(f"LEFT OUT: {name} {load}: {error}")
                    continue
                rows.append({"round": number, "peer": name, "load": load, **row})
                say(f"round {number + 1} {load} {name}: {told(rows[-1])}")
    return rows, left_out


def told(row):
    words = [f"{row['cpu_us']:.1f} us/request" if "cpu_us" in row else "", f"p50 {row['p50_us']:.0f} us" if "p50_us" in row else ""]
    return ", ".join([*filter(None, words), f"{row['requests']:,} requests"])


def one(name, command, load, seconds, tools, upstream):
    """One load against one peer in a fresh process."""
    what = LOADS[load]
    if name == DIRECT:
        return measure(what, what.instance, None, seconds, tools, upstream)
    if not peers.carries(name, what.listener):
        raise RuntimeError("cannot carry TCP: nginx has no stream module")
    with machine.running(name, command(tools.scratch), tools.scratch, pin=machine.PROXY_CORE) as process:
        machine.wait_listening(process, what.listener)
        check(what.listener, is_big=load == "big")
        return measure(what, what.listener, process, seconds, tools, upstream)


def check(listener, is_big=False):
    """A peer is measured only if it answers 200 with the whole body from the right group."""
    chooses = listener in (peers.ROUTE, peers.H2)
    path, length = (peers.BIG_PATH, peers.BIG_BODY) if is_big else ("/", peers.BODY)
    for tag, group in ((None, "base"), ("gray", "gray" if chooses else "base")):
        argv = ["curl", "-sS", "-m5", "-o", "/dev/null", "-D", "-", "-w", "%{http_code} %{size_download}", f"http://{listener}{path}"]
        argv += ["--http2-prior-knowledge"] if listener == peers.H2 else []
        argv += ["-H", f"x-mse-tag: {tag}"] if tag else []
        end = time.monotonic() + ANSWER_DEADLINE_S
        while True:
            out = subprocess.run(argv, capture_output=True, text=True, check=False)
            if out.stdout.endswith(f"200 {length}") and f"x-group: {group}" in out.stdout.lower():
                break
            if time.monotonic() > end:
                raise RuntimeError(f"{path} with tag {tag} on {listener}: wanted {length} bytes from {group}, got {out.stdout} {out.stderr}")
            time.sleep(0.1)


def measure(what, to, process, seconds, tools, upstream):
    """Requests, CPU time of the proxy, and times where the load tells them."""
    first = machine.realtime(upstream.pid, *([process.pid] if process else [])) if what.is_latency else contextlib.nullcontext(False)
    with first as is_realtime:
        what.send(to, WARM_UP_S, tools)
        cpu, stolen, start = machine.cpu_ns(process.pid) if process else 0, machine.stolen_s(), time.monotonic()
        row = what.send(to, seconds, tools)
        wall = time.monotonic() - start
        if not row["requests"]:
            raise RuntimeError(f"not one request was answered: {row}")
        row.update(rps=round(row["requests"] / wall), stolen_s=round(machine.stolen_s() - stolen, 2))
        if what.is_latency:
            row["is_realtime"] = is_realtime
        if process:
            cpu = machine.cpu_ns(process.pid) - cpu
            row.update(cpu_us=round(cpu / 1e3 / row["requests"], 3), busy=round(cpu / 1e9 / wall, 3))
    return row


def summarize(rows):
    """Per load and peer: medians, and the ratio to the load's reference in the same round."""
    summary = {}
    for load, what in LOADS.items():
        own_rows = [row for row in rows if row["load"] == load]
        figures = {(row["peer"], row["round"]): figure for row in own_rows if (figure := figure_of(row, own_rows, what)) is not None}
        for name in dict.fromkeys(row["peer"] for row in own_rows):
            mine = [row for row in own_rows if row["peer"] == name]
            entry = {key: statistics.median(row[key] for row in mine)
                     for key in ("cpu_us", "rps", "busy", "p50_us", "p99_us") if key in mine[0]}
            entry["figures"] = [figures[name, row["round"]] for row in mine if (name, row["round"]) in figures]
            ratios = [round(figures[name, number] / figures[what.reference, number], 3) for number in (row["round"] for row in mine)
                      if (name, number) in figures and (what.reference, number) in figures]
            if ratios:
                entry["ratio"] = {"to": what.reference, "median": round(statistics.median(ratios), 3),
                                  "min": min(ratios), "max": max(ratios), "rounds": ratios}
            entry["failed"] = sum(row["failed"] for row in mine)
            summary.setdefault(load, {})[name] = entry
    return summary


def figure_of(row, rows, what):
    """What a load is judged by: CPU time a request, or the time added to that of the same round without a proxy."""
    if not what.is_latency:
        return row.get("cpu_us")
    direct = [other["p50_us"] for other in rows if other["peer"] == DIRECT and other["round"] == row["round"]]
    return round(row["p50_us"] - direct[0], 1) if direct and row["peer"] != DIRECT else None
