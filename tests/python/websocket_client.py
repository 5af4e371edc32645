"""Talks to websocket_server.py: handshake, subprotocol, messages small and large, ping, an orderly close."""

import asyncio
import sys

from websockets.asyncio.client import connect


async def main():
    uri, tag = sys.argv[1], sys.argv[2]
    headers = {} if tag == "none" else {"x-mse-tag": tag}
    async with connect(uri, additional_headers=headers, subprotocols=["chat"], max_size=64 << 20) as connection:
        assert connection.subprotocol == "chat", connection.subprotocol
        first = await connection.recv()
        assert first == f"tag {tag}", first
        for message in ["", "hello", b"\x00\xff" * 500, "x" * 70_000, b"y" * (2 << 20)]:
            await connection.send(message)
            assert await connection.recv() == message, f"a message of {len(message)}"
        await asyncio.wait_for(await connection.ping(), 10)
        # Idle for a moment, then on: nothing may cut a quiet socket.
        await asyncio.sleep(1)
        await connection.send("still there")
        assert await connection.recv() == "still there"
    assert connection.close_code == 1000, connection.close_code
    print("ok")


asyncio.run(asyncio.wait_for(main(), 30))
