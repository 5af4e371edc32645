"""TLS end to end, `server ADDRESS CERTIFICATE KEY` or `client HOST PORT CERTIFICATE`: the certificate seen is the server's own."""

import socket
import ssl
import sys
import threading

if sys.argv[1] == "server":
    host, port = sys.argv[2].rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    context.set_alpn_protocols(["laneway-test"])
    listener = socket.create_server((host, int(port)))

    def serve(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                while data := secure.recv(65536):
                    secure.sendall(data[::-1])
        except OSError:
            pass

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
else:
    context = ssl.create_default_context(cafile=sys.argv[4])
    context.set_alpn_protocols(["laneway-test"])
    with socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="sc-server") as secure:
            assert secure.selected_alpn_protocol() == "laneway-test", secure.selected_alpn_protocol()
            secure.sendall(b"secret")
            assert secure.recv(100) == b"terces"
            print("ok", secure.version())
