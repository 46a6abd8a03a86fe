"""A Hugging Face hub on this machine, as far as an upload needs it: repositories, large files by sha256, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "x" * 30


@dataclass(kw_only=True)
class FakeHub:
    """State of the hub; `refuse` maps a part of a path to the status that a request for it gets."""

    address: str = ""
    repos: dict[str, bool] = field(default_factory=dict)
    """Name -> whether it is private."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """sha256 -> large file."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Files of the last commits."""
    uploads: list[str] = field(default_factory=list)
    """sha256 of every large file that was sent."""
    messages: list[str] = field(default_factory=list)
    refuse: dict[str, int] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refused(self) -> bool:
        for part, status in self.hub.refuse.items():
            if part in self.path:
                self._answer({"error": f"refused with {status}"}, status)
                return True
        if "/objects/" not in self.path and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid username or password."}, 401)
            return True
        return False

    def do_GET(self) -> None:
        if not self._refused():
            self._answer({"id": "org/name", "siblings": [], "sha": "0" * 40, "private": True})

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self._refused():
            return
        sha256 = self.path.rsplit("/", 1)[1]
        assert hashlib.sha256(data).hexdigest() == sha256
        self.hub.objects[sha256] = data
        self.hub.uploads.append(sha256)
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if self._refused():
            return
        if self.path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
            self.hub.repos[name] = wanted.get("visibility") == "private"
            self._answer({"url": f"{self.hub.address}/datasets/{name}", "name": name})
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "lfs" if "shards/" in f["path"] else "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._answer({"transfer": "basic", "objects": [self._object(o) for o in json.loads(body)["objects"]]})
        elif "/commit/" in self.path:
            self._commit(body)
        else:
            self._answer({"errors": [], "warnings": []})

    def _object(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] in self.hub.objects:
            return {**wanted, "authenticated": True}
        return {**wanted, "actions": {"upload": {"href": f"{self.hub.address}/objects/{wanted['oid']}", "header": {}}}}

    def _commit(self, body: bytes) -> None:
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "file":
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.hub.files[value["path"]] = self.hub.objects[value["oid"]]
        name = re.findall(r"datasets/([^/]+/[^/]+)/commit", self.path)[0]
        address = f"{self.hub.address}/datasets/{name}/commit/{'a' * 40}"
        self._answer({"success": True, "commitUrl": address, "commitOid": "a" * 40, "pullRequestUrl": None})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub on a free port of this machine."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
