"""A client of `tests/apps/live` on the library `websockets`: URL of the server, host of the app, and how far to go.

`conversation`: all that the protocol has. `numbers`: counts until the server closes, and prints how it did.
"""

import asyncio
import os
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

url, host, what = sys.argv[1:]
address, port = url.split(":")


def opened(path, **options):
    return connect(f"ws://{host}:{port}{path}", host=address, port=int(port), proxy=None, max_size=1 << 25, **options)


async def expect(socket, message, answer=None):
    await socket.send(message)
    got = await asyncio.wait_for(socket.recv(), 60)
    want = answer if answer is not None else (message if isinstance(message, (str, bytes)) else type(message[0])().join(message))
    assert got == want, f"{len(got)} of {len(want)}: {got[:50]!r}"


async def messages(**options):
    async with opened("/echo", **options) as socket:
        compressed = [extension.name for extension in socket.protocol.extensions]
        assert compressed == ([] if "compression" in options else ["permessage-deflate"]), compressed
        for text in ["", "hello", "ä" * 200, "x" * 65_535, "y" * 65_536, "z" * 3_000_000]:
            await expect(socket, text)
        await expect(socket, bytes(range(256)) * 40_000)
        await expect(socket, os.urandom(5_000_000))
        await expect(socket, ["in ", "many ", "fragments"])
        await expect(socket, [os.urandom(10_000) for _ in range(300)])
        for _ in range(3):
            await asyncio.wait_for(await socket.ping(b"are you there"), 60)
        many = [f"message {number}" for number in range(2000)]
        sending = asyncio.create_task(send_all(socket, many))
        assert [await asyncio.wait_for(socket.recv(), 60) for _ in many] == many
        await sending


async def send_all(socket, messages):
    for message in messages:
        await socket.send(message)


async def closes():
    for code in [1000, 1001, 3000, 4999]:
        async with opened("/echo") as socket:
            await socket.send(f"close {code}")
            try:
                await asyncio.wait_for(socket.recv(), 60)
            except ConnectionClosed as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (code, "as you say"), closed
            else:
                raise AssertionError("open")
    try:
        async with opened("/message"):
            raise AssertionError("this is no WebSocket")
    except websockets.exceptions.InvalidStatus as refused:
        assert refused.response.status_code == 200, refused
    async with opened("/echo") as socket:
        await socket.close(4321, "for no reason")


async def conversation():
    await messages()
    await messages(compression=None)
    await closes()
    print("done", flush=True)


async def numbers():
    async with opened("/numbers?from=0") as socket:
        count = 0
        try:
            while True:
                message = await asyncio.wait_for(socket.recv(), 60)
                assert message == f"one {count}", (message, count)
                if count % 50 == 0:
                    print(f"counted {count}", flush=True)
                count += 1
        except ConnectionClosed as closed:
            print(f"closed {closed.rcvd and closed.rcvd.code} after {count}", flush=True)


asyncio.run({"conversation": conversation, "numbers": numbers}[what]())
