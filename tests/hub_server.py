"""A hub on loopback, for the real client: repositories, branches, preupload, LFS, commits; and what goes wrong."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER = "me"
LFS = (".safetensors", ".pt", ".pth")


@dataclass
class Commit:
    """One commit: message, branch, and what was in it, path -> content."""

    message: str
    branch: str
    files: dict[str, bytes]


@dataclass
class Repository:
    """What a repository holds."""

    private: bool | None
    branches: set[str] = field(default_factory=lambda: {"main"})
    commits: list[Commit] = field(default_factory=list)

    def files(self, branch: str = "main") -> dict[str, bytes]:
        """The files at the head of a branch."""
        return {name: data for commit in self.commits if commit.branch == branch for name, data in commit.files.items()}

    @property
    def messages(self) -> list[str]:
        return [commit.message for commit in self.commits]


@dataclass
class Fault:
    """What the hub does in place of its answer: `status`, or cutting the line, or waiting for `gate` first."""

    place: str
    times: int
    status: int = 0
    message: str = ""
    gate: threading.Event | None = None


class Hub:
    """State of the hub.

    Attributes:
        token: the only one that may write; None takes any.
        requests: "METHOD path" of all requests, in their order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.token: str | None = None
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.faults: list[Fault] = []

    def fail(self, place: str, *, status: int = 0, times: int = 1, message: str = "") -> None:
        """The next `times` requests to a place (expression) are answered `status`; 0 cuts the line."""
        self.faults.append(Fault(place, times, status, message))

    def hold(self, place: str, times: int = 1) -> threading.Event:
        """The next `times` requests to a place wait until the event is set."""
        gate = threading.Event()
        self.faults.append(Fault(place, times, gate=gate))
        return gate

    def fault(self, request: str) -> Fault | None:
        """The fault that this request meets."""
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.place, request):
                fault.times -= 1
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:  # silent
        pass

    def _respond(self, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _serve(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        request = f"{self.command} {path}"
        hub.requests.append(request)
        if fault := hub.fault(request):
            if fault.gate is not None:
                fault.gate.wait(30)
            else:
                self._body() if fault.status else None
                if fault.status:
                    self._respond(fault.status, {"error": fault.message or "no"})
                self.close_connection = True
                return
        data = self._body()
        if not path.startswith("/lfs/"):
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            hub.tokens.append(token)
            if hub.token is not None and token != hub.token:
                self._respond(401, {"error": f"Invalid username or password: {token}"})
                return
        for pattern, answer in _ROUTES.items():
            if match := re.fullmatch(pattern, request):
                answer(self, data, **match.groupdict())
                return
        self._respond(404, {"error": "no such place"})

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def create(self, data: bytes) -> None:
        wanted = json.loads(data)
        name = f"{wanted.get('organization') or OWNER}/{wanted['name']}"
        status = 409 if name in self.hub.repositories else 200
        visibility = wanted.get("visibility")
        self.hub.repositories.setdefault(name, Repository(None if visibility is None else visibility == "private"))
        self._respond(status, {"url": f"{self.hub.url}/{name}", "error": "exists"})

    def branch(self, data: bytes, repo: str, rev: str) -> None:
        known = rev in self.hub.repositories[repo].branches
        self.hub.repositories[repo].branches.add(rev)
        self._respond(409 if known else 200, {"error": "exists"})

    def validate(self, data: bytes) -> None:
        self._respond(200, {"warnings": [], "errors": []})

    def info(self, data: bytes, repo: str, rev: str = "main") -> None:
        if repo not in self.hub.repositories:
            self._respond(404, {"error": "no repository"}, {"X-Error-Code": "RepoNotFound"})
            return
        self._respond(200, {"id": repo, "sha": "0" * 40, "siblings": [], "tags": []})

    def preupload(self, data: bytes, repo: str, rev: str) -> None:
        if repo not in self.hub.repositories:
            self._respond(404, {"error": "no repository"}, {"X-Error-Code": "RepoNotFound"})
            return
        names = [file["path"] for file in json.loads(data)["files"]]
        modes = {name: "lfs" if name.endswith(LFS) else "regular" for name in names}
        self._respond(200, {"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]})

    def batch(self, data: bytes, repo: str) -> None:
        objects = []
        for wanted in json.loads(data)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}}
            objects.append(entry)
        self._respond(200, {"transfer": "basic", "objects": objects})

    def put(self, data: bytes, oid: str) -> None:
        if hashlib.sha256(data).hexdigest() != oid:
            self._respond(400, {"error": "another content"})
            return
        self.hub.objects[oid] = data
        self._respond(200)

    def commit(self, data: bytes, repo: str, rev: str) -> None:
        lines, files = [json.loads(line) for line in data.splitlines()], {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.objects[value["oid"]]
        repository = self.hub.repositories[repo]
        repository.commits.append(Commit(lines[0]["value"]["summary"], rev, files))
        oid = f"{len(repository.commits):040d}"
        url = f"{self.hub.url}/{repo}/commit/{oid}"
        self._respond(200, {"success": True, "commitUrl": url, "commitOid": oid, "hookOutput": ""})

    def resolve(self, data: bytes, repo: str, rev: str, name: str) -> None:
        content = self.hub.repositories[repo].files(rev).get(name)
        if content is None:
            self._respond(404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound"})
            return
        digest = hashlib.sha256(content).hexdigest()
        self._respond(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": "0" * 40})


_REPO, _REV = r"(?P<repo>[\w.-]+/[\w.-]+?)", r"(?P<rev>[\w./-]+)"
_ROUTES = {
    r"POST /api/repos/create": _Handler.create,
    r"POST /api/validate-yaml": _Handler.validate,
    rf"POST /api/models/{_REPO}/branch/{_REV}": _Handler.branch,
    rf"POST /api/models/{_REPO}/preupload/{_REV}": _Handler.preupload,
    rf"POST /api/models/{_REPO}/commit/{_REV}": _Handler.commit,
    rf"GET /api/models/{_REPO}(/revision/{_REV})?": _Handler.info,
    rf"POST /{_REPO}\.git/info/lfs/objects/batch": _Handler.batch,
    r"PUT /lfs/(?P<oid>\w+)": _Handler.put,
    rf"(GET|HEAD) /{_REPO}/resolve/(?P<rev>[\w.-]+)/(?P<name>.+)": _Handler.resolve,
}


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="hub")
    thread.start()
    try:
        yield hub
    finally:
        for fault in hub.faults:
            if fault.gate is not None:
                fault.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
