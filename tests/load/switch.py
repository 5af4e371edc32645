"""`./x bench switch`: a lane is switched off and on again under load; how long do requests still reach it, and is one lost, does one
go through two versions?

Builds the programs, runs laneway-bench-switch (tests/src/bin/bench_switch.rs) and reads its times. The figure counts from
sending DisableLane until the last answer that any gray instance took part in had come back, so it includes that request.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import machine
from machine import say

GOAL_MEDIAN_MS, GOAL_P90_MS = 20, 50
RUN_TIMEOUT_S = 600


def main(argv):
    parser = argparse.ArgumentParser(prog="./x bench switch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=100)
    parser.add_argument("--rate", type=int, default=300, help="requests per second")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--profile", default="quick", help="of the build: quick (default) or release")
    parser.add_argument("--programs", metavar="FOLDER", type=os.path.abspath, help="where the programs are (default: build them)")
    parser.add_argument("--json", metavar="FILE|-", help="write one object; with - the summary goes to stderr")
    args = parser.parse_args(argv)
    command = " ".join(["./x bench switch", *argv])
    if not args.programs:
        args.programs = str(machine.build(args.profile))
        sys.argv += ["--programs", args.programs]
    machine.isolate()

    result = {"command": command, "machine": machine.describe(), "profile": args.profile}
    asked = [f"--{name}={getattr(args, name)}" for name in ("switches", "rate", "connections")]
    out = subprocess.run([Path(args.programs) / "laneway-bench-switch", *asked], stdout=subprocess.PIPE, check=False, timeout=RUN_TIMEOUT_S)
    if out.returncode:
        sys.exit(f"laneway-bench-switch ended with status {out.returncode}")
    result.update(json.loads(out.stdout))
    result["machine"]["load_average_after"] = os.getloadavg()
    rows = result["switches"]
    result["summary"] = {key: spread([row[key] for row in rows]) for key in ("off_ms", "off_answered_ms", "on_ms", "on_answered_ms")}
    result["unacknowledged"] = sum(not row["acknowledged"] for row in rows)
    off = result["summary"]["off_ms"]
    result["goal"] = {"median_ms": GOAL_MEDIAN_MS, "p90_ms": GOAL_P90_MS, "met": off["median"] < GOAL_MEDIAN_MS and off["p90"] < GOAL_P90_MS}
    return report(result, args.json)


def spread(values):
    ordered = sorted(values)
    return {"median": round(statistics.median(ordered), 2), "p90": ordered[max(0, -(-len(ordered) * 9 // 10) - 1)], "max": ordered[-1]}


def report(result, path):
    """Prints, and returns the exit status: 1 if a request was lost, reached a lane that everybody had switched off, or went through
    two versions."""
    show = say if path == "-" else print
    about, rows = result["machine"], result["switches"]
    names = {"off_ms": "DisableLane to the last answer from a gray instance", "off_answered_ms": "DisableLane until every sidecar acknowledged",
             "on_ms": "EnableLane to the last answer from a base instance", "on_answered_ms": "EnableLane until every sidecar acknowledged"}
    show(f"{result['command']}\n{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, commit {about['commit']}, profile "
         f"{result['profile']}, load average {about['load_average'][0]:.1f} to {about['load_average_after'][0]:.1f}\n\n"
         f"{len(rows)} switches under {result['requests']:,} requests, {rows[0]['sidecars']} sidecars\n\n"
         "| milliseconds | median | p90 | max |\n| --- | --: | --: | --: |\n"
         + "\n".join(f"| {text} | {one['median']:.1f} | {one['p90']:.1f} | {one['max']:.1f} |"
                     for text, one in ((text, result["summary"][key]) for key, text in names.items()))
         + f"\n\noff, every switch: {' '.join(str(round(row['off_ms'], 1)) for row in rows)}\n"
         f"lost: {result['lost']}, late (sent after every sidecar had acknowledged, and yet routed as before): {result['late']}, "
         f"mixed (one step in the lane, another not): {result['mixed']}, "
         f"switches not acknowledged by all: {result['unacknowledged']}")
    for example in result["lost_examples"] + result["late_examples"] + result["mixed_examples"]:
        show(f"  {example}")
    show(f"goal: median under {GOAL_MEDIAN_MS} ms, p90 under {GOAL_P90_MS} ms: {'met' if result['goal']['met'] else 'MISSED'}; "
         f"nothing lost: {'MISSED' if result['lost'] else 'met'}; no request through two versions: {'MISSED' if result['mixed'] else 'met'}")
    if path == "-":
        print(json.dumps(result))
    elif path:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["lost"] or result["late"] or result["mixed"] else 0
