#!/usr/bin/env python3
"""`./x bench`: our proxy beside nginx, HAProxy and Envoy, in the same interleaved rounds. `./x bench counts`: numbers that noise
does not move, against the committed ones (counts.py). `./x bench ladder`: what knowing the lane of a call costs (ladder.py).
`./x bench switch`: how fast a lane is switched (switch.py). `./x bench control`: what the control plane costs and endures
(control.py). `./x bench soak`: does memory stay where it is over ten million requests (soak.py).

The figure to compare is CPU microseconds per request (run time of all the proxy's threads over requests completed), as a
ratio to the reference in the same round: other load and the machine's mood move microseconds by half, ratios by little. Only
ratios of one run compare. The proxy has core 1, instances and load have core 0. docs/performance.md has results and reading.
"""
import argparse
import os
import sys
import tempfile

import control
import counts
import ladder
import machine
import peers
import soak
import switch
from loads import LOADS, NEEDS_OWN_PROGRAM, Tools
from machine import say
from memory import burst_kib, idle_kib
from report import report
from rounds import measure_all, summarize

LOAD_PROGRAM = "laneway-bench-load"
NOT_COUNTED = ("envoy",)  # callgrind takes minutes to start it


def arguments():
    parser = argparse.ArgumentParser(prog="./x bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="laneway,nginx,haproxy,envoy", help="which proxies (default: %(default)s); nginx is the reference")
    parser.add_argument("--loads", default=",".join(LOADS), help="which loads (default: %(default)s); empty: none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load in each round")
    parser.add_argument("--proxy", metavar="FILE", type=os.path.abspath, help="a laneway-proxy that is built already (default: build --release)")
    parser.add_argument("--load-program", metavar="FILE", type=os.path.abspath, help=f"{LOAD_PROGRAM}, built already (default: build it)")
    parser.add_argument("--no-counts", action="store_true", help="leave instructions and system calls out")
    parser.add_argument("--no-memory", action="store_true", help="leave idle connections and the burst out")
    parser.add_argument("--json", metavar="FILE|-", help="write one object; with - the tables go to stderr")
    args = parser.parse_args()
    args.loads, args.peers = [[word for word in text.split(",") if word] for text in (args.loads, args.peers)]
    known = [*LOADS, "laneway", *peers.BUILDERS]
    if unknown := [word for word in args.loads + args.peers if word not in known]:
        parser.error(f"unknown: {', '.join(unknown)}")
    return args


def build_missing(args):
    """Before root enters a namespace without a way out. What is built is told to the process that isolate() makes of us."""
    if not args.proxy and "laneway" in args.peers:
        args.proxy = str(machine.build("release", "laneway-proxy") / "laneway-proxy")
        sys.argv += ["--proxy", args.proxy]
    if not args.load_program and any(load in args.loads for load in NEEDS_OWN_PROGRAM):
        args.load_program = str(machine.build("quick", LOAD_PROGRAM) / LOAD_PROGRAM)
        sys.argv += ["--load-program", args.load_program]


def measure(args, todo, result, left_out):
    """Fills the result."""
    with tempfile.TemporaryDirectory(prefix="laneway-bench-") as scratch:
        with machine.running("upstream", peers.upstream(scratch), scratch, pin=machine.LOAD_CORE) as upstream:
            machine.wait_listening(upstream, peers.BASE)
            tools = Tools(scratch, args.load_program)
            rows, broken = measure_all(todo, args.loads, args.rounds, args.seconds, tools, upstream)
            left_out.update({f"{name} {load}": why for (name, load), why in broken.items()})
            result.update(measurements=rows, summary=summarize(rows), memory={}, counts={})
            for name, command in todo.items():
                try:
                    extras(args, name, command, scratch, result)
                except Exception as error:  # one broken peer must not lose the others' figures
                    left_out[f"{name} memory and counts"] = str(error)
                    say(f"LEFT OUT: {name} memory and counts: {error}")


def extras(args, name, command, scratch, result):
    """Memory and counts of one peer."""
    if not args.no_memory:
        result["memory"][name] = {"idle": idle_kib(name, command, scratch), "burst": burst_kib(name, command, scratch)}
        say(f"memory {name}: {result['memory'][name]}")
    if args.no_counts:
        return
    one = result["counts"].setdefault(name, {"syscalls": counts.syscalls(name, command, scratch)})
    if name not in NOT_COUNTED:
        one["user_instructions"] = counts.instructions(name, command, scratch)
    say(f"counts {name}: {one}")


def main():
    if sys.argv[1:2] == ["switch"]:
        return switch.main(sys.argv[2:])
    if sys.argv[1:2] == ["control"]:
        return control.main(sys.argv[2:])
    if sys.argv[1:2] == ["soak"]:
        return soak.main(sys.argv[2:])
    if sys.argv[1:2] == ["counts"]:
        return counts.main(sys.argv[2:])
    if sys.argv[1:2] == ["ladder"]:
        return ladder.main(sys.argv[2:])
    # Kept from the first process: what was built is added to the second one's arguments.
    command = os.environ.setdefault("LANEWAY_BENCH_COMMAND", " ".join(["./x bench", *sys.argv[1:]]))
    args = arguments()
    build_missing(args)
    wanted = ["nginx", "wrk", "h2load", "curl", "taskset", "ip", *([] if args.no_counts else ["valgrind", "strace"])]
    if missing := [program for program in wanted if not machine.find(program)]:
        sys.exit(f"cannot measure without {', '.join(missing)}")
    machine.isolate()
    machine.allow_many_connections()

    builders = {**peers.BUILDERS, "laneway": peers.laneway(args.proxy)}
    present = [name for name in args.peers if name == "laneway" or machine.find(name)]
    left_out = {name: "not installed" for name in args.peers if name not in present}
    about = machine.describe()
    result = {"command": command, "machine": about, "rounds": args.rounds, "seconds": args.seconds, "left_out": left_out}
    result["versions"] = {name: about["commit"] if name == "laneway" else machine.version(name) for name in present}
    measure(args, {name: builders[name] for name in present}, result, left_out)
    return report(result, args.json)


if __name__ == "__main__":
    sys.exit(main())
