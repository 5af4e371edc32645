"""`./x bench control`: what the control plane costs and endures.

    toggle     2,000 simulated sidecars and a lane that is switched: memory and CPU of each, until all have acknowledged
    endpoints  10,000 instances of which 100 change every second: how old is what a sidecar has, does memory grow
    commits    10,000 revisions in a minute under proxy traffic, with a history that is full: is a request lost, does memory grow
    restart    kill -9 with 1,000 sidecars: do they come back without a storm

Builds the programs, runs laneway-bench-control (tests/src/bin/bench_control) and prints its figures. The simulated sidecars run the
product's own protocol and its own pauses; their CPU time is shown beside the server's.
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

RUN_TIMEOUT_S = 600
RECIPES = ("toggle", "endpoints", "commits", "restart")
SHORT = {  # to see that it runs; the figures mean little
    "toggle": ["--sidecars=200", "--toggles=6"], "endpoints": ["--sidecars=50", "--services=4", "--calls=2", "--seconds=10"],
    "commits": ["--revisions=500", "--fill=500", "--seconds=5"], "restart": ["--sidecars=100", "--kills=1"],
}
GOALS = {"toggle_ms": 300, "toggle_us": 44, "stream_kib": 43, "memory_growth": 0.05, "converged_ms": 200, "in_a_second": 0.10, "back_ms": 30_000}


def main(argv):
    parser = argparse.ArgumentParser(prog="./x bench control", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"which of {', '.join(RECIPES)} (default: all)")
    parser.add_argument("--short", action="store_true", help="a tenth of everything, to see that it runs")
    parser.add_argument("--profile", default="quick", help="of the build: quick (default) or release")
    parser.add_argument("--programs", metavar="FOLDER", type=os.path.abspath, help="where the programs are (default: build them)")
    parser.add_argument("--json", metavar="FILE|-", help="write one object; with - the tables go to stderr")
    args = parser.parse_args(argv)
    if unknown := [recipe for recipe in args.recipes if recipe not in RECIPES]:
        parser.error(f"unknown: {', '.join(unknown)}")
    command = os.environ.setdefault("LANEWAY_BENCH_COMMAND", " ".join(["./x bench control", *argv]))
    if not args.programs:
        args.programs = str(machine.build(args.profile))
        sys.argv += ["--programs", args.programs]
    machine.isolate()
    machine.allow_many_connections()
    # The limit on one user's writes is not what is measured.
    os.environ["LANEWAY_CONTROL_WRITES_PER_SECOND"] = "100000"

    result = {"command": command, "machine": machine.describe(), "profile": args.profile, "broken": []}
    for recipe in args.recipes or RECIPES:
        say(f"{recipe} ..")
        out = subprocess.run([Path(args.programs) / "laneway-bench-control", recipe, *(SHORT[recipe] if args.short else [])],
                             stdout=subprocess.PIPE, check=False, timeout=RUN_TIMEOUT_S, env={**os.environ, "LANEWAY_PROGRAMS": args.programs})
        if out.returncode:
            result["broken"].append(recipe)  # the others' figures are not lost with it
        else:
            result[recipe] = json.loads(out.stdout)
    result["machine"]["load_average_after"] = os.getloadavg()
    return report(result, args.json)


def report(result, path):
    """Prints, and returns the exit status: 1 if something was lost or did not come, whatever the times are."""
    show = say if path == "-" else print
    about = result["machine"]
    show(f"{result['command']}\n{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, commit {about['commit']}, profile "
         f"{result['profile']}, load average {about['load_average'][0]:.1f} to {about['load_average_after'][0]:.1f}")
    failures = [f"{recipe} broke off, as it says above" for recipe in result["broken"]]
    for recipe in RECIPES:
        if recipe in result:
            title, rows, notes = TABLES[recipe](result[recipe], failures)
            show(f"\n**{title}**\n\n| figure | measured | goal |\n| --- | --: | --: |\n"
                 + "\n".join(f"| {name} | {measured} | {goal} |" for name, measured, goal in rows))
            for note in notes:
                show(f"\n{note}")
    for failure in failures:
        show(f"\nFAILED: {failure}")
    if path == "-":
        print(json.dumps(result))
    elif path:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failures else 0


def held(value, goal):
    return f"{goal} {'met' if value <= goal else 'MISSED'}"


def toggle(one, failures):
    rows = one["toggles"]
    middle = {key: statistics.median(row[key] for row in rows) for key in ("ms", "server_us", "simulator_us")}
    missing = sum(row["acknowledged"] != one["sidecars"] or not row["done"] for row in rows)
    if missing:
        failures.append(f"{missing} switches were not acknowledged by all")
    return f"toggle: {one['sidecars']:,} sidecars, {one['lanes']} lanes", [
        ("a switch until all have acknowledged, median of " + str(len(rows)), f"{middle['ms']:.0f} ms", held(middle["ms"], GOALS["toggle_ms"])),
        ("the slowest switch", f"{max(row['ms'] for row in rows):.0f} ms", ""),
        ("server CPU per switch and sidecar, median", f"{middle['server_us']:.1f} us", held(middle["server_us"], GOALS["toggle_us"])),
        ("simulator's own CPU per switch and sidecar, median", f"{middle['simulator_us']:.1f} us", ""),
        ("memory per stream (six types each)", f"{one['stream_kib']:.1f} KiB", held(one["stream_kib"], GOALS["stream_kib"])),
        ("server CPU to connect one, with its first configuration", f"{one['connect_us']:.0f} us", ""),
        ("all connected after", f"{one['connected_ms']:.0f} ms", ""),
    ], [f"every switch, ms: {' '.join(str(round(row['ms'])) for row in rows)}"]


def endpoints(one, failures):
    memory = one["memory_kib"]
    if one["pushes"]["min"] < 2:
        failures.append("a sidecar starved")
    growth = memory["second_half"] / memory["first_half"] - 1
    return f"endpoints: {one['endpoints']:,} instances, {one['changes'] / one['took_ms'] * 1000:.0f} changes a second, {one['sidecars']} sidecars", [
        ("oldest that a sidecar had, worst moment of the worst sidecar", f"{one['age_ms']['max']:.0f} ms", ""),
        ("the same, median sidecar", f"{one['age_ms']['median']:.0f} ms", ""),
        ("pushes to the sidecar with fewest, with most", f"{one['pushes']['min']}, {one['pushes']['max']}", ""),
        ("last change until every sidecar had it", f"{one['last_ms']:.0f} ms", ""),
        ("streams that were lost and opened again", one["reopened"], held(one["reopened"], 0)),
        ("server CPU, of one core", f"{one['cpu_share'] * 100:.0f} %", ""),
        ("server memory, most in the first half, in the second, at the end",
         f"{memory['first_half'] / 1024:.1f}, {memory['second_half'] / 1024:.1f}, {memory['end'] / 1024:.1f} MiB", f"bounded: {growth:+.1%}"),
    ], [f"changes that were made late by the writer: {one['late']} of {one['changes']:,}"]


def commits(one, failures):
    if one["lost"]:
        failures.append(f"{one['lost']} requests were lost: {one['lost_examples']}")

    def memory(name):
        kib = one[name]
        growth = kib["max"] / kib["before"] - 1
        return f"{kib['before'] / 1024:.1f}, {kib['max'] / 1024:.1f}, {kib['after'] / 1024:.1f} MiB", \
            f"{growth:+.1%} of 5 % {'met' if growth <= GOALS['memory_growth'] else 'MISSED'}"

    return f"commits: {one['revisions']:,} revisions after {one['fill']:,} that filled the history", [
        ("time they took", f"{one['took_ms'] / 1000:.1f} s", ""),
        ("requests meanwhile, lost", f"{one['requests']:,}, {one['lost']}", held(one["lost"], 0)),
        ("last revision: call until every sidecar had acknowledged", f"{one['last_converged_ms']:.0f} ms", held(one["last_converged_ms"], GOALS["converged_ms"])),
        ("last revision: call until it was stored", f"{one['last_stored_ms']:.0f} ms", ""),
        ("control plane's memory before, most, after", *memory("control_kib")),
        ("sidecar's memory before, most, after", *memory("sidecar_kib")),
        ("control plane's CPU per revision", f"{one['commit_cpu_us']:.0f} us", ""),
        ("as fast as it goes (the filling)", f"{one['fill'] / max(one['fill_ms'], 1) * 1000:.0f} revisions a second", ""),
    ], []


def restart(one, failures):
    kills = one["kills"]
    most = max(kill["most_in_a_second"] for kill in kills) / one["sidecars"]
    last = max(kill["last_ms"] for kill in kills)
    return f"restart: {one['sidecars']:,} sidecars, {len(kills)} times kill -9", [
        ("most that came back in any one second", f"{most:.1%}", f"{GOALS['in_a_second']:.0%} {'met' if most <= GOALS['in_a_second'] else 'MISSED'}"),
        ("the last one after", f"{last / 1000:.1f} s", f"30 s {'met' if last <= GOALS['back_ms'] else 'MISSED'}"),
        ("control plane ready again after", f"{max(kill['ready_ms'] for kill in kills):.0f} ms", ""),
    ], ["came back by second: " + " | ".join(" ".join(map(str, kill["by_second"])) for kill in kills)]


TABLES = {"toggle": toggle, "endpoints": endpoints, "commits": commits, "restart": restart}
