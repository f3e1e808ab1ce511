"""Serves the git repository in `data/` with git's own program. Needs no package."""

import os
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DATA = Path.home() / "data"
REPOSITORY = DATA / "code.git"
# How many bodies came in chunks.
CHUNKED = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/chunked":
            return self.reply(200, {}, str(len(CHUNKED)).encode())
        self.backend()

    do_POST = do_OPTIONS = lambda self: self.backend()

    def backend(self):
        path, _, query = self.path.partition("?")
        asked = {"REQUEST_METHOD": self.command, "PATH_INFO": path, "QUERY_STRING": query,
                 "CONTENT_TYPE": self.headers.get("Content-Type", ""), "REMOTE_USER": "somebody",
                 "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                 "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                 "GIT_PROJECT_ROOT": str(DATA), "GIT_HTTP_EXPORT_ALL": "1"}
        done = subprocess.run(["git", "http-backend"], input=self.body(), stdout=subprocess.PIPE, env={**os.environ, **asked})
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.reply(int(headers.pop("Status", "200").split()[0]), headers, body)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        CHUNKED.append(self.path)
        chunks = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(length))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def reply(self, status, headers, body):
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if not REPOSITORY.exists():
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", REPOSITORY], check=True)
    subprocess.run(["git", "-C", REPOSITORY, "config", "http.receivepack", "true"], check=True)
ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
