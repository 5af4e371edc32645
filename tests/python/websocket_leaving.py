"""A WebSocket that is in full flow when its instance goes away: `server HOST PORT`, `client URI`. Each side numbers what it says, expects
the other's numbers without a gap, and prints the code with which the connection was closed."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def talk(connection):
    async def say():
        number = 0
        while True:
            # Of every form of length, and one of two frames.
            size = [0, 120, 200, 70_000][number % 4]
            await connection.send([f"{number} ", "x" * size] if number % 3 == 0 else f"{number} " + "x" * size)
            number += 1
            await asyncio.sleep(0.001)

    saying = asyncio.create_task(say())
    expected = 0
    try:
        while True:
            message = await connection.recv()
            assert message.startswith(f"{expected} "), f"{expected} expected: {message[:20]}"
            expected += 1
            if expected == 20:
                print("flows", flush=True)
    except ConnectionClosed as closed:
        print("closed", closed.rcvd.code if closed.rcvd else None, "behind", expected, flush=True)
    finally:
        saying.cancel()


async def main():
    if sys.argv[1] == "server":
        async with serve(talk, sys.argv[2], int(sys.argv[3])) as server:
            await server.serve_forever()
    async with connect(sys.argv[2]) as connection:
        await talk(connection)


asyncio.run(asyncio.wait_for(main(), 60))
