"""What a decision costs in user instructions, held against decide.json: `python3 tests/load/decide.py`, part of `./x check` and of
`./x bench counts`.

core/examples/decide_counts.rs (profile quick) makes one decision many times under callgrind; the slope between two counts is
what one costs. A list of 100,000 values may cost no more than one of 100, times LIST_RATIO_MAX: a lookup, whatever its length.
Ends with 1 where a count is above its committed number by more than the tolerance beside it; `--write` commits what is measured.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import machine

FILE = Path(__file__).with_name("decide.json")
# Decisions of the two runs. Many where one is cheap: hash seeds differ between runs, and so does what building a list costs.
FEWER, MORE, MORE_RULES = 10, 5_000, 110
TOLERANCE_PERCENT = 5  # that a new file starts with
LIST_RATIO_MAX = 1.1
RULES, SHORT_LIST, LONG_LIST = "inbound_rules", "inbound_list_100", "inbound_list_100000"
CASES = {
    RULES: "an untagged request, 1,000 rules of which none matches",
    SHORT_LIST: "an untagged request, taken by a list of 100 values",
    LONG_LIST: "an untagged request, taken by a list of 100,000 values",
    "inbound_carried": "a request that carries its tag, past 1,000 rules",
    "outbound_hit": "an outbound call to an instance of its lane",
    "outbound_fallback": "an outbound call of a lane without instances",
}


def build():
    machine.say("building decide_counts (profile quick)")
    build = ["cargo", "build", "--quiet", "--profile", "quick", "-p", "laneway-core", "--example", "decide_counts", "--message-format", "json"]
    out = subprocess.run(build, cwd=machine.ROOT, check=True, capture_output=True, text=True).stdout
    made = [json.loads(line).get("executable") for line in out.splitlines()]
    return next(path for path in made if path)


def whole_run(program, case, times, scratch):
    out = Path(scratch) / f"{case}.{times}"
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program, case, str(times)]
    done = subprocess.run(valgrind, capture_output=True, text=True, check=False)
    total = re.search(r"(?m)^(?:totals|summary): (\d+)", out.read_text()) if done.returncode == 0 else None
    if not total:
        raise RuntimeError(f"{case}: {done.stderr.strip() or 'callgrind wrote no total'}")
    return int(total[1])


def measure(program):
    """Instructions of each case."""
    with tempfile.TemporaryDirectory(prefix="laneway-decide-") as scratch:
        return {case: slope(program, case, MORE_RULES if case == RULES else MORE, scratch) for case in CASES}


def slope(program, case, more, scratch):
    fewer_cost, more_cost = (whole_run(program, case, times, scratch) for times in (FEWER, more))
    return round((more_cost - fewer_cost) / (more - FEWER))


def compare(measured, committed):
    """A line for each number, and whether it holds."""
    lines, is_well = [], True
    for case, title in CASES.items():
        was, tolerance, now = committed[case]["count"], committed[case]["tolerance_percent"], measured[case]
        change = (now / was - 1) * 100
        verdict = "holds"
        if change > tolerance:
            verdict, is_well = f"ABOVE the tolerance of {tolerance} %", False
        elif change < -tolerance:
            verdict = "better: commit it with --write"
        lines.append(f"instructions of {title}: {now:,}, committed {was:,}, {change:+.1f} %: {verdict}")
    ratio = measured[LONG_LIST] / measured[SHORT_LIST]
    verdict = "holds"
    if ratio > LIST_RATIO_MAX:
        verdict, is_well = "ABOVE it: a list is not a lookup any more", False
    lines.append(f"100,000 values cost {ratio:.2f} times what 100 cost, at most {LIST_RATIO_MAX}: {verdict}")
    return lines, is_well


def main(argv):
    parser = argparse.ArgumentParser(prog="tests/load/decide.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"commit what is measured to {FILE.name}")
    args = parser.parse_args(argv)
    if not machine.find("valgrind"):
        sys.exit("cannot count without valgrind")
    measured = measure(build())
    old = json.loads(FILE.read_text()) if FILE.exists() else {}
    if args.write:
        tolerance = {case: old.get(case, {}).get("tolerance_percent", TOLERANCE_PERCENT) for case in CASES}
        new = {case: {"count": measured[case], "tolerance_percent": tolerance[case]} for case in CASES}
        FILE.write_text(json.dumps(new, indent=2) + "\n")
        machine.say(f"wrote {FILE}")
        old = new
    lines, is_well = compare(measured, old)
    print("\n".join(lines))
    if not is_well:
        print("Make it cheaper again; or, where it is worth it, `python3 tests/load/decide.py --write` and say why in the commit.")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
