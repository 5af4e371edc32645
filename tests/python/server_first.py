"""A protocol in which the server speaks first, as MySQL does: `server ADDRESS` or `client HOST PORT`."""

import socket
import socketserver
import sys
import time

# Protocol 10, version, thread id, salt: the head of MySQL's handshake packet.
GREETING = b"\x4a\x00\x00\x00\x0a8.0.36-laneway\x00\x08\x00\x00\x00" + b"saltsalt\x00" + b"\x00" * 48


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(GREETING)
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def read(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            sys.exit(f"closed after {len(data)} of {length} bytes")
        data += part
    return data


if sys.argv[1] == "server":
    host, port = sys.argv[2].rsplit(":", 1)
    Server((host, int(port)), Handler).serve_forever()
else:
    started = time.monotonic()
    with socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=10) as connection:
        if read(connection, len(GREETING)) != GREETING:
            sys.exit("the greeting differs")
        greeted = time.monotonic() - started
        for text in (b"select 1", b"x" * 300_000):
            connection.sendall(text)
            if read(connection, len(text)) != text.upper():
                sys.exit("the answer differs")
        connection.shutdown(socket.SHUT_WR)
        if connection.recv(1):
            sys.exit("something came after the end")
    # Detection waits 100 ms for a client that does not speak; twice (two sidecars) is no stall, a timeout would be.
    if greeted > 2:
        sys.exit(f"the greeting took {greeted:.1f} s")
    print(f"ok greeted after {greeted * 1000:.0f} ms")
