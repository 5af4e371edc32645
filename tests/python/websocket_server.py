"""Echoes WebSocket messages, text and binary; the first message says which tag the handshake carried."""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(connection):
    await connection.send("tag " + connection.request.headers.get("x-mse-tag", "none"))
    async for message in connection:
        await connection.send(message)


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    async with serve(echo, host.strip("[]"), int(port), subprotocols=["chat"], max_size=64 << 20) as server:
        await server.serve_forever()


asyncio.run(main())
