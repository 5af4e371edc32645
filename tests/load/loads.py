"""The loads: what each one sends, with which program, and what it is judged by. rounds.py runs them.

A sender returns how many requests were answered well and how many were not, and times where its program tells them.
"""
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import peers
from client import FEW_HEADERS, HEADERS, PATH, TAG, request
from machine import LOAD_CORE, pinned

MANY_CONNECTIONS = 64
REQUESTS_PER_SECOND = 1000  # of the load that is about latency


@dataclass(frozen=True)
class Load:
    title: str
    listener: str  # of every peer
    instance: str  # what is behind it: for the load without a proxy between
    send: Callable  # (to: address, seconds, tools: Tools) -> dict
    goal: float  # at most so many times the reference
    reference: str = "nginx"
    least: float | None = None  # what must hold where the goal does not
    is_latency: bool = False  # judged by the time that the proxy adds, not by its CPU time


@dataclass(frozen=True)
class Tools:
    scratch: str  # a folder
    program: str | None  # laneway-bench-load


def wrk(to, seconds, tools, connections, path="/", headers=FEW_HEADERS, is_tagged=False):
    """HTTP/1.1 keep-alive; where `is_tagged`, every second request carries the tag."""
    script = Path(tools.scratch) / "load.lua"
    script.write_text(f"""
local plain, tagged, count = nil, nil, 0
init = function()
{"".join(f"  wrk.headers['{name}'] = '{value}'" + chr(10) for name, value in headers.items())}
  plain = wrk.format("GET", "{path}")
  {f'wrk.headers["{TAG[0]}"] = "{TAG[1]}"' if is_tagged else ""}
  tagged = wrk.format("GET", "{path}")
end
request = function() count = count + 1; if count % 2 == 0 then return plain end return tagged end
done = function(summary, latency)
  local e = summary.errors
  print(string.format('{{"requests": %d, "failed": %d, "p50_us": %.1f, "p99_us": %.1f}}', summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
""")
    return last_line("wrk", ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://{to}"], seconds)


def h2load(to, seconds, tools, connections, streams):
    """HTTP/2 with prior knowledge; every request carries the tag (h2load cannot vary headers)."""
    headers = [word for item in [*HEADERS.items(), TAG] for word in ("-H", f"{item[0].lower()}: {item[1]}")]
    argv = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", *headers, f"http://{to}{PATH}"]
    out = subprocess.run(pinned(LOAD_CORE, argv), capture_output=True, text=True, timeout=seconds + 30, check=False)
    count = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", out.stdout)
    if not count:
        raise RuntimeError(f"h2load said: {out.stdout[-300:]} {out.stderr[-300:]}")
    return {"requests": int(count[1]), "failed": int(count[2]) + int(count[3])}


def own(to, seconds, tools, *how):
    """laneway-bench-load (tests/src/bin/bench_load.rs)."""
    argv = [tools.program, f"--seconds={seconds}", to, *how]
    return last_line("laneway-bench-load", argv, seconds, request(to, "/", FEW_HEADERS).decode())


def last_line(name, argv, seconds, given=None):
    out = subprocess.run(pinned(LOAD_CORE, argv), input=given, capture_output=True, text=True, timeout=seconds + 60, check=False)
    try:
        return json.loads(out.stdout.strip().rsplit("\n", 1)[-1])
    except ValueError:
        raise RuntimeError(f"{name} said: {out.stdout[-300:]} {out.stderr[-300:]}") from None


def route(connections):
    return lambda to, seconds, tools: wrk(to, seconds, tools, connections, PATH, HEADERS, is_tagged=True)


def small(to, seconds, tools):
    return wrk(to, seconds, tools, MANY_CONNECTIONS)


LOADS = {
    "route": Load(
        "the route job: HTTP/1.1 keep-alive, 64 connections, 12 headers, half of the requests tagged",
        peers.ROUTE, peers.BASE, route(MANY_CONNECTIONS), goal=0.80, least=0.90),
    "keep-alive": Load(
        "HTTP/1.1 keep-alive, 64 connections, 3 headers, nothing to choose",
        peers.PLAIN, peers.BASE_PLAIN, small, goal=0.80),
    "one": Load(
        "the route job on one connection",
        peers.ROUTE, peers.BASE, route(1), goal=0.75),
    "h2c": Load(
        "HTTP/2, 8 connections x 32 streams, 13 headers, all tagged",
        peers.H2, peers.BASE_H2, lambda to, seconds, tools: h2load(to, seconds, tools, 8, 32), goal=1.0, reference="haproxy"),
    "tcp": Load(
        "bytes that are not read (the requests of keep-alive), 64 connections",
        peers.TCP, peers.BASE_TCP, small, goal=0.95),
    "big": Load(
        "answers of 1 MiB, HTTP/1.1, 8 connections",
        peers.PLAIN, peers.BASE_PLAIN, lambda to, seconds, tools: wrk(to, seconds, tools, 8, peers.BIG_PATH), goal=1.0),
    "churn": Load(
        "a new connection for each request, closed by the client, 64 at a time",
        peers.PLAIN, peers.BASE_PLAIN,
        lambda to, seconds, tools: own(to, seconds, tools, "churn", f"--connections={MANY_CONNECTIONS}"), goal=1.2),
    "latency": Load(
        f"{REQUESTS_PER_SECOND:,} requests a second on one connection: the median time that the proxy adds",
        peers.PLAIN, peers.BASE_PLAIN,
        lambda to, seconds, tools: own(to, seconds, tools, "paced", f"--requests-per-second={REQUESTS_PER_SECOND}"),
        goal=1.0, is_latency=True),
}
NEEDS_OWN_PROGRAM = ("churn", "latency")
