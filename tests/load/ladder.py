"""`./x bench ladder`: what knowing the lane of a call costs, in user instructions of one request through one sidecar.

Callgrind, the slope between two runs. A gateway's request of ten headers, and what a line names beside it. "in" goes to the
pod's application and is noted; "out" is a call of the application.
"""
import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import machine
import peers
from client import HEADERS, Client, request
from counts import CALLGRIND_START_S, SETTLE_S, STOP_S

INBOUND = "127.0.0.1:9021"
FEWER, MORE = 300, 1500
IDS = 1000  # of inbound requests, one after the other
TAG = {"x-mse-tag": "gray"}
PLAIN = {name: value for name, value in HEADERS.items() if name.lower() not in ("traceparent", "x-request-id")}


def trace(number):
    return {"traceparent": f"00-0af7651916cd43dd8448eb211c{number:06x}-b7ad6b7169203331-01"}


CASES = (  # title, where to, its own headers by number, an inbound request of the lane `gray` with trace 1 before
    ("in: nothing", INBOUND, lambda number: {}, False),
    ("in: a trace id", INBOUND, lambda number: trace(number % IDS), False),
    ("in: the tag, and a trace id", INBOUND, lambda number: TAG | trace(number % IDS), False),
    ("in: the tag; the sidecar makes a trace id", INBOUND, lambda number: TAG, False),
    ("out: nothing", peers.ROUTE, lambda number: {}, False),
    ("out: the tag (carried)", peers.ROUTE, lambda number: TAG, False),
    ("out: a trace id of a lane request (correlated)", peers.ROUTE, lambda number: trace(1), True),
    ("out: a trace id that nobody knows", peers.ROUTE, lambda number: trace(2), True),
)


def laneway(program, scratch):
    conf = Path(scratch) / "ladder.yaml"
    conf.write_text(f"""
kind: Service
name: route
ports: [{{port: 80, name: http}}]
endpoints: [{{address: '{peers.BASE}', portName: http}}, {{address: '{peers.GRAY}', portName: http, tag: gray}}]
---
kind: Proxy
service: caller
listeners:
  - {{address: '{peers.ROUTE}', direction: outbound, defaultService: route}}
  - {{address: '{INBOUND}', direction: inbound, forwardTo: '{peers.BASE}'}}
""")
    return [program, "--resources", str(conf), "--drain-min", "0s", "--drain-max", "0s"]


def ask(address, headers, count):
    client = Client(address)
    for number in range(count):
        client.send(request(address, headers=PLAIN | headers(number)))
        client.receive()
    client.close()


def whole_run(program, scratch, case, count):
    _, address, headers, is_known = case
    out = Path(scratch) / "ladder.callgrind"
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *laneway(program, scratch)]
    with machine.running("laneway-callgrind", valgrind, scratch, pin=machine.PROXY_CORE, stop_timeout=STOP_S) as process:
        for listener in (peers.ROUTE, INBOUND):
            machine.wait_listening(process, listener, timeout=CALLGRIND_START_S)
        if is_known:
            ask(INBOUND, lambda number: TAG | trace(1), 1)
        ask(address, headers, count)
        time.sleep(SETTLE_S)
    total = re.search(r"(?m)^(?:totals|summary): (\d+)", out.read_text())
    if not total:
        raise RuntimeError("callgrind wrote no total")
    return int(total[1])


def main(argv):
    parser = argparse.ArgumentParser(prog="./x bench ladder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxy", metavar="FILE", type=os.path.abspath, help="a laneway-proxy that is built already (default: build --release)")
    args = parser.parse_args(argv)
    if not machine.find("valgrind"):
        sys.exit("cannot count without valgrind")
    if not args.proxy:
        args.proxy = str(machine.build("release", "laneway-proxy") / "laneway-proxy")
        sys.argv += ["--proxy", args.proxy]
    machine.isolate()
    print("| one request | user instructions |\n| --- | --: |")
    with tempfile.TemporaryDirectory(prefix="laneway-ladder-") as scratch:
        with machine.running("upstream", peers.upstream(scratch), scratch, pin=machine.LOAD_CORE) as upstream:
            machine.wait_listening(upstream, peers.BASE)
            for case in CASES:
                fewer, more = (whole_run(args.proxy, scratch, case, count) for count in (FEWER, MORE))
                print(f"| {case[0]} | {(more - fewer) / (MORE - FEWER):,.0f} |", flush=True)
    return 0
