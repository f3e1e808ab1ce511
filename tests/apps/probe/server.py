"""Answers questions about itself. Needs no package."""

import base64
import hashlib
import json
import os
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

MESSAGE = Path(__file__).with_name("message").read_text().strip()
INSTANCE = uuid.uuid4().hex
DATA = Path.home() / "data"
SLEEPERS = []
TAKEN = [bytearray(int(os.environ.get("TAKEN", 0)) << 20)]


class Probe(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        name = url.path.strip("/") or "message"
        answer = getattr(self, "get_" + name, None)
        if answer is None:
            return self.reply(404, f"no {name}")
        answer(**dict(parse_qsl(url.query)))

    def get_message(self):
        self.reply(200, MESSAGE)

    def get_instance(self):
        self.reply(200, INSTANCE)

    def get_environ(self):
        self.reply(200, json.dumps({**os.environ, "cwd": os.getcwd(), "uid": os.getuid()}))

    def get_headers(self):
        self.reply(200, json.dumps({name.lower(): value for name, value in self.headers.items()}))

    def get_slow(self, seconds):
        SLEEPERS.append(self)
        time.sleep(float(seconds))
        SLEEPERS.remove(self)
        self.reply(200, INSTANCE)

    def get_sleepers(self):
        self.reply(200, str(len(SLEEPERS)))

    def get_write(self, name, text):
        (DATA / name).write_text(text)
        self.reply(200, "written")

    def get_read(self, name):
        path = DATA / name
        self.reply(200, path.read_text() if path.exists() else "nothing")

    def get_exit(self, status):
        os._exit(int(status))

    def get_take(self, mebibytes):
        TAKEN.append(bytearray(int(mebibytes) << 20))
        self.reply(200, "taken")

    def get_say(self, text):
        print(text)
        self.reply(200, "said")

    def get_events(self):
        """Server-sent events, until nobody listens any more."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(b"data: %s\n\n" % INSTANCE.encode())
            time.sleep(0.05)

    def get_socket(self):
        """WebSocket: sends every text frame back."""
        accept = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(accept.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while len(head := self.rfile.read(2)) == 2 and head[0] == 0x81:
            mask = self.rfile.read(4)
            masked = self.rfile.read(head[1] & 0x7F)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
            self.wfile.write(bytes([0x81, len(text)]) + text)

    def do_POST(self):
        digest, length = hashlib.sha256(), 0
        for chunk in self.body():
            digest.update(chunk)
            length += len(chunk)
        self.reply(200, json.dumps({"length": length, "sha256": digest.hexdigest()}))

    def body(self):
        left = int(self.headers["Content-Length"])
        while left > 0:
            chunk = self.rfile.read(min(left, 1 << 16))
            if not chunk:
                return
            left -= len(chunk)
            yield chunk

    def reply(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("0.0.0.0", int(os.environ["PORT"])), Probe).serve_forever()
