"""Memory of a peer: as it has started, for each connection that rests, and what stays of a burst.

Heap and stacks (RssAnon) unless said otherwise. The kernel's memory of the sockets is not in it; it is the same for all.
"""
import time

import machine
import peers
from client import FEW_HEADERS, Client, request
from rounds import check

IDLE_CONNECTIONS = 1000
BURST_CONNECTIONS = 1000
SETTLE_S = 1.5
# Longer than the ten seconds in which jemalloc gives back what is free.
REST_S = 15


def idle_kib(name, command, scratch):
    """The process after its first requests, and the heap for each connection that was used once and then rests."""
    with machine.running(name, command(scratch), scratch, pin=machine.PROXY_CORE) as process:
        before = settled(process)
        clients = []
        for _ in range(IDLE_CONNECTIONS):
            # Used at once: a connection that stays silent at first may cost its own, as a client that waits for its server.
            clients.append(Client(peers.ROUTE))
            clients[-1].ask(1)
        time.sleep(SETTLE_S)
        after = machine.memory_kib(process.pid)
        for client in clients:
            client.close()
    return {"heap": before["heap"], "resident": before["resident"],
            "per_connection": round((after["heap"] - before["heap"]) / IDLE_CONNECTIONS, 2)}


def burst_kib(name, command, scratch):
    """1,000 requests at once, each on a connection of its own, answered slowly; then all connections are closed."""
    with machine.running(name, command(scratch), scratch, pin=machine.PROXY_CORE) as process:
        before = settled(process)["heap"]
        clients = []
        for _ in range(BURST_CONNECTIONS):
            clients.append(Client(peers.PLAIN))
            clients[-1].send(request(peers.PLAIN, peers.SLOW_PATH, FEW_HEADERS))
        time.sleep(peers.SLOW_S / 2)  # every request waits for the rest of its answer
        waiting = machine.memory_kib(process.pid)["heap"]
        for client in clients:
            client.receive()
        height = max(waiting, machine.memory_kib(process.pid)["heap"])
        for client in clients:
            client.close()
        time.sleep(REST_S)
        held = machine.memory_kib(process.pid)["heap"] - before
    return {"height": height - before, "held": held}


def settled(process):
    machine.wait_listening(process, peers.ROUTE, peers.PLAIN)
    check(peers.ROUTE)
    check(peers.PLAIN)
    time.sleep(SETTLE_S)
    return machine.memory_kib(process.pid)
