"""Line coverage of what must be right by thought alone: core and the state machines. `./x check` runs it.

The compiler counts (-Cinstrument-coverage, our packages only), the LLVM tools of the compiler's own major version read.
Prints a line for each part and ends with 1 where one is below the goal.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOAL_PERCENT = 80
# Part to the files that belong to it: pure code, in which no test needs a socket.
PARTS = {
    "core": [r"core/src/.*\.rs"],
    "state machines": [
        r"core/src/delta\.rs",
        r"proxy/src/datapath/(detect|gate)\.rs",
        r"proxy/src/drain\.rs",
        r"control-api/src/push/session(/state)?\.rs",
        r"control-api/src/reconcile/debounce\.rs",
    ],
    "redirect plan": [r"iptables/src/(plan|render|cidr|ports)\.rs"],
}
FOLDERS = ["core", "proxy", "control-api", "iptables"]


def tool(name):
    version = subprocess.check_output(["rustc", "-vV"], text=True)
    major = re.search(r"LLVM version: (\d+)", version).group(1)
    sysroot = subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip()
    host = re.search(r"host: (.*)", version).group(1)
    own = pathlib.Path(sysroot, "lib/rustlib", host, "bin", name)
    found = str(own) if own.exists() else shutil.which(f"{name}-{major}")
    if not found:
        sys.exit(f"coverage: {name} of LLVM {major} is not there: `rustup component add llvm-tools`, or Debian's llvm-{major}")
    return found


def main():
    profdata, cov = tool("llvm-profdata"), tool("llvm-cov")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    counts = target / "coverage"
    shutil.rmtree(counts, ignore_errors=True)
    counts.mkdir(parents=True)
    # Only our packages are counted; the wrapper gives them files of their own beside the uncounted ones. Which lines run is the same
    # without optimisation, and it is built in half the time.
    wrapper = counts / "rustc"
    wrapper.write_text('#!/bin/sh\nexec "$@" -Cinstrument-coverage -Copt-level=0\n')
    wrapper.chmod(0o755)
    environment = dict(os.environ, RUSTC_WORKSPACE_WRAPPER=str(wrapper), LLVM_PROFILE_FILE=str(counts / "%p-%m.profraw"))
    # The redirect's pure tests hold its text against golden files, from outside the library.
    # The whole workspace, whatever is counted of it: with other packages libraries have other features, and are built again.
    command = ["cargo", "test", "--quiet", "--profile", "quick", "--workspace", "--lib", "--test", "golden", "--message-format=json", "--no-run"]
    built = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    programs = []
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("profile", {}).get("test") and message.get("executable"):
            folder = pathlib.Path(message["manifest_path"]).parent
            if folder.name in FOLDERS:
                programs.append((message["executable"], folder))
    for program, folder in programs:
        # Some of these start an etcd or ask nft, which `./x check` installs; those that need a mesh or a namespace are no unit tests.
        ran = subprocess.run([program, "--quiet"], cwd=folder, env=environment, capture_output=True, text=True)
        if ran.returncode:
            sys.exit(f"coverage: tests fail in {program}\n{ran.stdout}{ran.stderr}")
    raw = [str(path) for path in counts.glob("*.profraw")]
    merged = counts / "merged.profdata"
    subprocess.run([profdata, "merge", "--sparse", *raw, "-o", merged], check=True)
    objects = [part for program, _ in programs[1:] for part in ("--object", program)]
    report = subprocess.check_output(
        [cov, "export", "--summary-only", "--skip-expansions", f"--instr-profile={merged}", programs[0][0], *objects])
    files = json.loads(report)["data"][0]["files"]

    failed = False
    for part, patterns in PARTS.items():
        lines = covered = 0
        worst = []
        for file in files:
            name = os.path.relpath(file["filename"], ROOT)
            if name.endswith("tests.rs") or not any(re.fullmatch(pattern, name) for pattern in patterns):
                continue
            summary = file["summary"]["lines"]
            lines, covered = lines + summary["count"], covered + summary["covered"]
            if summary["count"]:
                worst.append((summary["percent"], name))
        percent = 100 * covered / lines if lines else 0
        below = percent < GOAL_PERCENT
        failed |= below
        print(f"coverage: {part:<15} {percent:5.1f} % of {lines} lines (goal {GOAL_PERCENT} %)")
        if below:
            for file_percent, name in sorted(worst)[:8]:
                print(f"coverage:     {file_percent:5.1f} % {name}")
    sys.exit(1 if failed else 0)


main()
