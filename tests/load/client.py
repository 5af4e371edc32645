"""What is asked of a proxy, and a connection that asks exactly that: for counts, idle connections and bursts.

Slow, and so never a load; loads.py has those.
"""
import re
import socket

from machine import split

# A browser's request through a gateway. With Host that is twelve; every second request carries TAG as well.
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "Accept": "application/json, text/plain, */*",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
    "Content-Type": "application/json",
    "Cookie": "session=0123456789abcdef0123456789abcdef; lang=zh; theme=dark",
    "Authorization": "Bearer abcdefghijklmnopqrstuvwxyz0123456789",
    "X-Request-Id": "6f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "X-Forwarded-For": "10.1.2.3",
    "X-Forwarded-Proto": "http",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
TAG = ("x-mse-tag", "gray")
PATH = "/api/v1/orders?id=42"
# What a plain client sends: three headers with Host.
FEW_HEADERS = {"User-Agent": "bench/1", "Accept": "*/*"}
ANSWER_TIMEOUT_S = 60


def request(host, path=PATH, headers=HEADERS, tagged=False):
    """The bytes of a GET."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines + ([f"{TAG[0]}: {TAG[1]}"] if tagged else []) + ["", ""]).encode()


class Client:
    """One keep-alive connection."""

    def __init__(self, address):
        self.host = address
        self.socket = socket.create_connection(split(address), ANSWER_TIMEOUT_S)

    def ask(self, count):
        """The route job, one request after the other; every second one carries the tag."""
        pair = [request(self.host, tagged=tagged) for tagged in (True, False)]
        for number in range(count):
            self.send(pair[number % 2])
            self.receive()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.part()
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        if not head.startswith(b"HTTP/1.1 200") or not length:
            raise RuntimeError(f"answered {head[:200]!r}")
        missing = int(length[1]) - len(body)
        while missing > 0:
            missing -= len(self.part())

    def part(self):
        part = self.socket.recv(65536)
        if not part:
            raise RuntimeError("closed the connection")
        return part

    def close(self):
        self.socket.close()
