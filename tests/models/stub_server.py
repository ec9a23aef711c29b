"""A server on this machine that speaks as the hub and Civitai do: it cuts connections, lies, and sends web pages."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class Stub:
    """Files and facts by path, and what goes wrong. `asked` lists (method, path, range, authorization)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.facts: dict[str, Any] = {}
        self.errors: dict[str, list[int]] = {}  # answers to give first, by path: 429, 500, ... or 200 for a web page
        self.error_headers: dict[str, str] = {}
        self.cut_after: list[int] = []  # cut the connection after so many bytes, once for each entry
        self.ranges = True  # whether downloads can be continued
        self.asked: list[tuple[str, str, str | None, str | None]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                stub.answer(self, "HEAD")

            def do_GET(self) -> None:
                stub.answer(self, "GET")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add_hub_model(self, name: str, files: dict[str, bytes], **lies: str) -> None:
        """A repository; lies are wrong hashes by file."""
        siblings = []
        for file, content in files.items():
            self.files[f"/{name}/resolve/main/{file}"] = content
            sha256 = lies.get(file, hashlib.sha256(content).hexdigest())
            lfs = {"sha256": sha256, "size": len(content), "pointerSize": 130} if "safetensors" in file else None
            siblings.append({"rfilename": file, "size": len(content), "lfs": lfs, "blobId": "0" * 40})
        self.facts[f"/api/models/{name}"] = {"id": name, "sha": "1" * 40, "siblings": siblings}

    def add_civitai_model(self, version: int, content: bytes, model: int = 7, **changes: Any) -> None:
        """A version of a checkpoint; changes are of its file's facts."""
        file = {
            "name": "good model.safetensors",
            "type": "Model",
            "primary": True,
            "sizeKB": len(content) / 1024,
            "hashes": {"SHA256": hashlib.sha256(content).hexdigest().upper()},
            "downloadUrl": f"https://civitai.com/api/download/models/{version}",
        }
        facts = {"id": version, "modelId": model, "model": {"type": "Checkpoint"}, "files": [file | changes]}
        self.facts[f"/api/v1/model-versions/{version}"] = facts
        self.facts[f"/api/v1/models/{model}"] = {"id": model, "modelVersions": [facts]}
        self.files[f"/api/download/models/{version}"] = content

    def answer(self, request: BaseHTTPRequestHandler, method: str) -> None:
        path = request.path.partition("?")[0]
        self.asked.append((method, path, request.headers.get("Range"), request.headers.get("Authorization")))
        if self.errors.get(path):
            status = self.errors[path].pop(0)
            self.send(request, status, HTML, {"Content-Type": "text/html"} | self.error_headers, method)
        elif path in self.facts:
            self.send(request, 200, json.dumps(self.facts[path]).encode(), {"Content-Type": "application/json"}, method)
        elif path in self.files:
            self.send_file(request, self.files[path], method)
        else:
            self.send(request, 404, HTML, {"Content-Type": "text/html", "X-Error-Code": "EntryNotFound"}, method)

    def send_file(self, request: BaseHTTPRequestHandler, content: bytes, method: str) -> None:
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": "1" * 40, "Content-Type": "application/octet-stream"}
        wanted = re.match(r"bytes=(\d+)-", request.headers.get("Range") or "")
        if wanted and self.ranges:
            start = int(wanted[1])
            if start >= len(content):
                self.send(request, 416, b"", {"Content-Range": f"bytes */{len(content)}"}, method)
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send(request, 206, content[start:], headers, method)
        else:
            self.send(request, 200, content, headers, method)

    def send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], method: str
    ) -> None:
        request.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            request.send_header(name, value)
        request.end_headers()
        if method == "HEAD":
            return
        if self.cut_after and status in (200, 206) and len(body) > self.cut_after[0]:
            body = body[: self.cut_after.pop(0)]
            request.close_connection = True
        request.wfile.write(body)
