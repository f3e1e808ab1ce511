"""What stays connected: WebSockets, server-sent events, and a page that uses both. Told to end, it closes them with a word."""

import asyncio
import os
import weakref
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, web

HERE = Path(__file__).parent
MESSAGE = (HERE / "message").read_text().strip()
REPORT = Path.home() / "data" / "report"
SOCKETS = weakref.WeakSet()
CLOSED = []
INTERVAL = 0.02


async def page(_request):
    return web.FileResponse(HERE / "page.html")


async def message(_request):
    return web.Response(text=MESSAGE)


async def echo(request):
    """Sends back what it gets; closes as it is told to."""
    socket = await opened(request)
    async for received in socket:
        if received.type is WSMsgType.TEXT and received.data.startswith("close "):
            await socket.close(code=int(received.data.split()[1]), message=b"as you say")
        elif received.type is WSMsgType.TEXT:
            await socket.send_str(received.data)
        else:
            await socket.send_bytes(received.data)
    CLOSED.append(socket.close_code)
    return socket


async def closed(_request):
    """With which code the last echo was closed."""
    return web.Response(text=str(CLOSED[-1]))


async def numbers(request):
    """Counts on from where the client is, and says which version counts."""
    socket = await opened(request)
    number = int(request.query["from"])
    while not socket.closed:
        await socket.send_str(f"{MESSAGE} {number}")
        number += 1
        await asyncio.sleep(INTERVAL)
    return socket


async def opened(request):
    socket = web.WebSocketResponse(max_msg_size=1 << 25)
    await socket.prepare(request)
    SOCKETS.add(socket)
    return socket


async def events(request):
    """The same as server-sent events."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    number = int(request.headers.get("Last-Event-ID", -1)) + 1
    await response.write(b"retry: 50\n\n")
    while True:
        await response.write(f"id: {number}\ndata: {MESSAGE} {number}\n\n".encode())
        number += 1
        await asyncio.sleep(INTERVAL)


async def take_report(request):
    aside = REPORT.with_suffix(".aside")
    aside.write_text(await request.text())
    aside.rename(REPORT)
    return web.Response()


async def give_report(_request):
    return web.Response(text=REPORT.read_text() if REPORT.exists() else "{}")


async def close_sockets(_app):
    for socket in list(SOCKETS):
        await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server ends")


app = web.Application(client_max_size=1 << 20)
app.on_shutdown.append(close_sockets)
app.add_routes([
    web.get("/", page),
    web.get("/message", message),
    web.get("/echo", echo),
    web.get("/closed", closed),
    web.get("/numbers", numbers),
    web.get("/events", events),
    web.post("/report", take_report),
    web.get("/report", give_report),
])
web.run_app(app, port=int(os.environ["PORT"]), shutdown_timeout=1, print=None)
