"""A web server on the loopback that fails as it is told."""

from __future__ import annotations

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from mlpot.data.download import Checksum

BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = Checksum.parse(f"sha256:{hashlib.sha256(BODY).hexdigest()}")


class Server(ThreadingHTTPServer):
    """Serves ``body`` with an ETag.

    ``script`` holds faults, one per request: a status, bytes after which it hangs up (1000 and more),
    or what to do first.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.tag, self.type, self.ranges = BODY, '"1"', "application/octet-stream", True
        self.files: dict[str, bytes] = {}
        self.script: list[object] = []
        self.requests: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data.bin"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        fault = server.script.pop(0) if server.script else None
        if callable(fault):
            fault = fault(server)
        if isinstance(fault, int) and fault < 1000:
            self.send_response(fault)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.files.get(self.path, server.body)
        begin = 0
        asked = self.headers.get("Range")
        if server.ranges and asked and self.headers.get("If-Range") in (None, server.tag):
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        if asked and begin >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Type", server.type)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        end = begin + fault if isinstance(fault, int) else len(body)
        self.wfile.write(body[begin:end])  # what follows never comes: the connection is closed

    def log_message(self, *_: object) -> None:
        pass


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
