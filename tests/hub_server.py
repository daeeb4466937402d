"""A Hugging Face hub on this machine, as far as huggingface_hub asks one: repositories with commits, preupload, LFS by
the basic transfer, and files to download. It refuses what the hub refuses: no token, a wrong one, a moved parent, YAML
that is none, an object whose hash is another.

Xet, the hub's own transfer, is not spoken: switch it off (HF_HUB_DISABLE_XET).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from aiohttp import web

from tests.wire.server import Received, WireServer

TOKEN = "hf_" + "testing" * 5
_MODEL = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?P<rest>/.*)?")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>.+)")
_BATCH = re.compile(r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass(slots=True)
class Repository:
    """`commits` are summaries, the newest last; `lfs` those of `files` that came as large ones."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(json.dumps(self.commits).encode()).hexdigest()


class HubServer(WireServer):
    """`server.repositories` is what it holds, by name; `server.received` what was asked, in order."""

    def __init__(self) -> None:
        super().__init__(lambda received: None)  # type: ignore[arg-type, return-value]
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}

    @property
    def writes(self) -> list[str]:
        """The paths of what could change anything, in order."""
        return [one.path for one in self.received if one.headers["method"] != "GET" and one.headers["method"] != "HEAD"]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()} | {"method": request.method}
        self.received.append(Received(request.path, headers, {"bytes": len(data)}, dict(request.query)))
        if request.path.startswith("/objects/"):
            return self._object(request.path.rpartition("/")[2], data)
        given = headers.get("authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            return _refused(401, "Invalid credentials in Authorization header")
        if request.method in ("GET", "HEAD"):
            return self._read(request, given is not None)
        if given is None:
            return _refused(401, "Invalid username or password.")
        return self._write(request.path, data)

    def _object(self, oid: str, data: bytes) -> web.Response:
        if hashlib.sha256(data).hexdigest() != oid:
            return _refused(400, "the content is not that of the hash")
        self.objects[oid] = data
        return web.Response()

    def _seen(self, name: str, known: bool) -> Repository | None:
        repo = self.repositories.get(name)
        return None if repo is None or (repo.private and not known) else repo

    def _read(self, request: web.Request, known: bool) -> web.StreamResponse:
        if found := _FILE.fullmatch(request.path):
            repo = self._seen(found["repo"], known)
            if repo is None:
                return _refused(404, "Repository not found", "RepoNotFound")
            if found["path"] not in repo.files:
                return _refused(404, "Entry not found", "EntryNotFound")
            body = repo.files[found["path"]]
            more = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": repo.sha}
            return web.Response(body=body, headers=more)
        found = _MODEL.fullmatch(request.path)
        repo = self._seen(found["repo"], known) if found else None
        if found is None or repo is None:
            return _refused(404, "Repository not found", "RepoNotFound")
        if found["rest"] not in (None, "/revision/main"):
            return _refused(404, "Entry not found", "EntryNotFound")
        files = [{"rfilename": name} for name in sorted(repo.files)]
        return web.json_response(
            {"id": found["repo"], "sha": repo.sha, "private": repo.private, "siblings": files, "tags": []}
        )

    def _write(self, path: str, data: bytes) -> web.Response:
        if path == "/api/validate-yaml":
            return _validated(json.loads(data)["content"])
        if path == "/api/repos/create":
            return self._create(json.loads(data))
        if found := _BATCH.fullmatch(path):
            asked = json.loads(data)["objects"]
            return web.json_response({"transfer": "basic", "objects": [self._upload(one) for one in asked]})
        found = _MODEL.fullmatch(path)
        repo = self.repositories.get(found["repo"]) if found else None
        if found is None or repo is None:
            return _refused(404, "Repository not found", "RepoNotFound")
        if found["rest"] == "/preupload/main":
            files = [
                {"path": f["path"], "uploadMode": _mode(f["path"]), "shouldIgnore": False, "oid": None}
                for f in json.loads(data)["files"]
            ]
            return web.json_response({"files": files})
        if found["rest"] == "/commit/main":
            return self._commit(found["repo"], repo, [json.loads(line) for line in data.splitlines()])
        return _refused(404, f"nothing is at {path}")

    def _create(self, asked: dict[str, Any]) -> web.Response:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return _refused(409, "You already created this model repo")
        private = asked.get("visibility") == "private"
        self.repositories[name] = Repository(private, {".gitattributes": b""}, commits=["initial commit"])
        return web.json_response({"url": f"{self.url}/{name}"})

    def _upload(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.objects:
            return one
        return one | {"actions": {"upload": {"href": f"{self.url}/objects/{one['oid']}"}}}

    def _commit(self, name: str, repo: Repository, lines: list[dict[str, Any]]) -> web.Response:
        header, files, large = lines[0]["value"], dict(repo.files), set(repo.lfs)
        if header.get("parentCommit") not in (None, repo.sha):
            return _refused(412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            path = value["path"]
            large.discard(path)
            if line["key"] == "deletedFile":
                del files[path]
            elif line["key"] == "lfsFile":
                files[path] = self.objects[value["oid"]]
                large.add(path)
            else:
                files[path] = base64.b64decode(value["content"])
        repo.files, repo.lfs = files, large
        repo.commits.append(header["summary"])
        return web.json_response({"commitUrl": f"{self.url}/{name}/commit/{repo.sha}", "commitOid": repo.sha})


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


def _validated(content: str) -> web.Response:
    try:
        metadata = yaml.safe_load(content.split("---")[1])
        errors = [] if isinstance(metadata, dict) else ["it is no table"]
    except (yaml.YAMLError, IndexError) as error:
        errors = [str(error)]
    answer = {"errors": [{"message": error} for error in errors], "warnings": []}
    return web.json_response(answer, status=400 if errors else 200)


def _refused(status: int, message: str, code: str = "") -> web.Response:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return web.json_response({"error": message}, status=status, headers=headers)
