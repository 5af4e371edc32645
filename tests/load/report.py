"""What was measured, as Markdown with every round shown, and what it is held against: goals, met or missed."""
import json
import os
from pathlib import Path

from loads import LOADS
from machine import say
from memory import BURST_CONNECTIONS, IDLE_CONNECTIONS

# What a count may be at most: it must be below the first, and should be below the second.
MUSTS = {
    "idle_connection_kib": ("KiB for each idle connection", 3, 1.5),
    "idle_process_mib": ("MiB resident of the idle process", 10, 6),
    "user_instructions": ("user instructions of a route request", 16_000, 12_000),
}
OURS = "laneway"


def number(value, form):
    return "" if value is None else format(value, form)


def goals(result):
    """One row for each goal: what, limit, measured, whether it is met; None where it was not measured."""
    rows = []
    for load, by_peer in result["summary"].items():
        what, ratio = LOADS[load], by_peer.get(OURS, {}).get("ratio")
        subject = "added p50" if what.is_latency else "CPU time a request"
        limits = [("goal", what.goal), *([("must", what.least)] if what.least else [])]
        rows += [{"name": f"{load}: {subject}, x {what.reference}", "kind": kind, "limit": limit, "form": ".2f",
                  "measured": ratio and ratio["median"]} for kind, limit in limits]
    for key, (name, must, goal) in MUSTS.items():
        rows += [{"name": name, "kind": kind, "limit": limit, "form": ",.0f" if limit > 100 else ".1f",
                  "measured": counted(result, key)} for kind, limit in (("goal", goal), ("must", must))]
    for row in rows:
        row["met"] = None if row["measured"] is None else row["measured"] <= row["limit"]
    return rows


def counted(result, key):
    memory = result["memory"].get(OURS, {}).get("idle")
    if key == "user_instructions":
        return result["counts"].get(OURS, {}).get("user_instructions")
    if not memory:
        return None
    return memory["per_connection"] if key == "idle_connection_kib" else round(memory["resident"] / 1024, 2)


def goals_table(rows):
    words = {True: "met", False: "**missed**", None: "not measured"}
    return ["", "| goal | at most | measured | |", "| --- | --: | --: | --- |",
            *(f"| {row['name']}{' (must)' if row['kind'] == 'must' else ''} | {row['limit']:{row['form']}} | "
              f"{number(row['measured'], row['form'])} | {words[row['met']]} |" for row in rows)]


def load_table(load, by_peer):
    what = LOADS[load]
    figure = "added p50 us" if what.is_latency else "CPU us/request"
    lines = ["", f"**{load}: {what.title}**", "",
             f"| proxy | x {what.reference}, median | min - max | rounds | {figure} by round | CPU us | busy | requests/s | p50 us | p99 us |",
             "| --- | --: | --: | --- | --- | --: | --: | --: | --: | --: |"]
    for name, one in by_peer.items():
        ratio = one.get("ratio", {})
        lines.append("| " + " | ".join([
            name, number(ratio.get("median"), ".2f"), f"{ratio['min']:.2f} - {ratio['max']:.2f}" if ratio else "",
            " ".join(f"{value:.2f}" for value in ratio.get("rounds", [])), " ".join(f"{value:.1f}" for value in one["figures"]),
            number(one.get("cpu_us"), ".1f"), number(one.get("busy"), ".0%"), number(one["rps"], ",.0f"),
            number(one.get("p50_us"), ".0f"), number(one.get("p99_us"), ".0f")]) + " |")
    return lines


def memory_table(memory):
    lines = ["", f"| proxy | idle: resident MiB | of it heap | KiB for each idle connection (of {IDLE_CONNECTIONS:,}) | "
             f"burst of {BURST_CONNECTIONS:,}: MiB more at its height | still held |", "| --- | --: | --: | --: | --: | --: |"]
    for name, one in memory.items():
        idle, burst = one["idle"], one["burst"]
        lines.append(f"| {name} | {idle['resident'] / 1024:.1f} | {idle['heap'] / 1024:.1f} | {idle['per_connection']:.2f} | "
                     f"{burst['height'] / 1024:.1f} | {burst['held'] / 1024:.1f} |")
    return lines if memory else []


def counts_table(counts):
    lines = ["", "| proxy | user instructions of a route request | system calls | which |", "| --- | --: | --: | --- |"]
    for name, one in counts.items():
        which = ", ".join(f"{call} {share:.2f}" for call, share in one["syscalls"]["by_name"].items()) if "syscalls" in one else ""
        lines.append(f"| {name} | {number(one.get('user_instructions'), ',')} | "
                     f"{number(one.get('syscalls', {}).get('sum'), '.2f')} | {which} |")
    return lines if counts else []


def heading(result):
    about = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [result["command"], "",
            f"{about['time'][:10]}, {about['processor']}, {about['cores']} cores, Linux {about['kernel']}, congestion control "
            f"{about['sysctl']['net.ipv4.tcp_congestion_control']}, load average {about['load_average'][0]:.1f} to "
            f"{about['load_average_after'][0]:.1f}; {versions}"]


def report(result, path):
    """Prints, and returns the exit status: 1 if anything asked for was not measured or a request failed. A goal that is missed
    is said, and is no failure: figures move with the machine."""
    show = say if path == "-" else print
    result["machine"]["load_average_after"] = os.getloadavg()
    result["goals"] = goals(result)
    lines = heading(result)
    for load, by_peer in result["summary"].items():
        lines += load_table(load, by_peer)
    lines += memory_table(result["memory"]) + counts_table(result["counts"]) + goals_table(result["goals"]) + [""]
    lines += [f"LEFT OUT: {what}: {why}" for what, why in result["left_out"].items()]
    if any(row.get("is_realtime") is False for row in result["measurements"] if row["load"] == "latency"):
        lines.append("latency without SCHED_FIFO (not permitted): other work on the machine shows in it")
    failed = sum(one["failed"] for by_peer in result["summary"].values() for one in by_peer.values())
    if failed:
        lines.append(f"FAILED: {failed} requests were not answered well")
    show("\n".join(lines))
    if path == "-":
        print(json.dumps(result))
    elif path:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed or result["left_out"] else 0
