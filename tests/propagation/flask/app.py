"""An ordinary Flask application: calls the next service and answers the chain. It knows nothing of lanes or traces.

Requests are served by threads, but the call is made by another thread of a smaller pool, over kept connections that the
threads share: neither a thread nor a connection belongs to one request.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import requests
from flask import Flask, Response, request
from waitress import serve

SERVER_THREADS = 40
CALLER_THREADS = 16
CALL_TIMEOUT_SECONDS = 20

name, tag, address = (os.environ.get(key, "") for key in ("NAME", "TAG", "ADDRESS"))
next_url, via = os.environ.get("NEXT", ""), os.environ.get("VIA", "")

app = Flask(__name__)
callers = ThreadPoolExecutor(CALLER_THREADS)
session = requests.Session()
session.trust_env = False
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CALLER_THREADS))


def call(order):
    """What the next service answers. Where nothing redirects, the sidecar is called and the service is named in Host."""
    time.sleep(order % 4 / 1000)
    url, headers = next_url, {}
    if via:
        parts = urlsplit(next_url)
        url, headers = f"http://{via}{parts.path}", {"host": parts.netloc}
    return session.get(url, params={"order": order}, headers=headers, timeout=CALL_TIMEOUT_SECONDS)


@app.get("/")
@app.get("/<path:path>")
def chain(path=""):
    order = request.args.get("order", 0, type=int)
    own = f"{name}{tag}[{address} {order}]" if "order" in request.args else f"{name}{tag}[{address}]"
    if not next_url:
        return Response(own + "\n", mimetype="text/plain")
    answer = callers.submit(call, order).result()
    if answer.ok:
        return Response(f"{own} -> {answer.text}", mimetype="text/plain")
    why = answer.headers.get("x-laneway-error", answer.text.strip())
    return Response(f"{own} -> {answer.status_code} {why}\n", status=answer.status_code, mimetype="text/plain")


if __name__ == "__main__":
    serve(app, listen=os.environ["LISTEN"].replace(",", " "), threads=SERVER_THREADS, ident=None)
