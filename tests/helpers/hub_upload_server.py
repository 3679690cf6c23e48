"""A fake Hugging Face Hub on this computer: it accepts repositories, LFS files, commits and tags, and serves files."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

TOKENS = {"hf_ada": ("ada", "write"), "hf_reader": ("ada", "read"), "hf_bob": ("bob", "write")}
KNOWN_LICENCES = ("apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0")
ERRORS = {404: "RepoNotFound"}


@dataclass
class Repo:
    """`commits` maps an id to its files, oldest first; `refs` names the branch main and the tags."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(str(len(self.commits)).encode())
        for name, body in sorted(files.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(body).digest())
        self.refs["main"] = digest.hexdigest()
        self.commits[self.refs["main"]] = files
        return self.refs["main"]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        oid = self.refs.get(revision, revision)
        return (oid, self.commits[oid]) if oid in self.commits else None


class FakeHub(ThreadingHTTPServer):
    """`repos` are known by "models/USER/NAME" and "spaces/USER/NAME"; `requests` are (method, path), as they came."""

    daemon_threads = True

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), HubHandler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add_repo(self, name: str, files: dict[str, bytes], private: bool = False) -> Repo:
        """Add an existing repository with these files on main."""
        repo = self.repos[name] = Repo(private)
        repo.commit(files)
        return repo


class HubHandler(BaseHTTPRequestHandler):
    """`ROUTES`, at the end, tell which method answers what."""

    protocol_version = "HTTP/1.1"
    server: FakeHub

    def handle_any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for method, pattern, answer in ROUTES:
            if self.command in method and (match := re.fullmatch(pattern, path)):
                return getattr(self, answer)(**match.groupdict())
        return self.refuse(404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    # --- who asks, and what for

    @property
    def user(self) -> tuple[str, str]:
        return TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "), ("", ""))

    def repo(self, kind: str, name: str, write: bool = False) -> Repo | None:
        """The repository, or None after a refusal."""
        repo = self.server.repos.get(f"{kind}/{name}")
        owner = self.user[0] == name.split("/")[0]
        if repo is None or (repo.private and not owner):
            self.refuse(404 if self.user[0] else 401)
        elif write and not (owner and self.user[1] == "write"):
            self.refuse(403)
        else:
            return repo
        return None

    # --- the protocol

    def whoami(self) -> None:
        name, role = self.user
        if not name:
            return self.refuse(401)
        return self.send_json({"name": name, "type": "user", "orgs": [], "auth": {"accessToken": {"role": role}}})

    def create(self) -> None:
        asked = json.loads(self.body)
        kind, owner = asked.get("type", "model") + "s", asked["organization"] or self.user[0]
        name = f"{owner}/{asked['name']}"
        if self.user != (owner, "write") or (kind == "spaces" and asked.get("sdk") != "gradio"):
            return self.refuse(403)
        address = f"{self.server.address}/{'' if kind == 'models' else f'{kind}/'}{name}"
        if f"{kind}/{name}" in self.server.repos:
            return self.send_json({"error": "You already created this", "url": address}, 409)
        self.server.add_repo(f"{kind}/{name}", {".gitattributes": b""}, asked.get("visibility") == "private")
        return self.send_json({"url": address, "name": name})

    def validate(self) -> None:
        asked = json.loads(self.body)
        match = re.match(r"---\n(.*?)\n---\n", asked["content"], re.DOTALL)
        front = yaml.safe_load(match[1]) if match else {}
        wrong = [] if front.get("license") in KNOWN_LICENCES else ['"license" must be one of those that are known']
        for name in ("tags", "datasets", "metrics"):
            if name in front and not all(isinstance(each, str) for each in front[name]):
                wrong.append(f'"{name}" must be a list of words')
        self.send_json({"errors": [{"message": each} for each in wrong], "warnings": []}, 400 if wrong else 200)

    def info(self, kind: str, name: str, revision: str | None = None) -> None:
        if repo := self.repo(kind, name):
            if not (commit := repo.at(revision or "main")):
                return self.refuse(404, "RevisionNotFound")
            files = [{"rfilename": path} for path in commit[1]]
            self.send_json({"id": name, "sha": commit[0], "private": repo.private, "siblings": files})
        return None

    def tree(self, kind: str, name: str, revision: str) -> None:
        if repo := self.repo(kind, name):
            if not (commit := repo.at(revision)):
                return self.refuse(404, "RevisionNotFound")
            files = [{"type": "file", "path": p, "size": len(b), "oid": blob(b)} for p, b in commit[1].items()]
            self.send_json(files)
        return None

    def refs(self, kind: str, name: str) -> None:
        if repo := self.repo(kind, name):
            tags = [
                {"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repo.refs.items() if n != "main"
            ]
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.refs["main"]}
            self.send_json({"branches": [main], "converts": [], "tags": tags})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if repo := self.repo(kind, name, write=True):
            known, files = repo.at(revision)[1], []
            for each in json.loads(self.body)["files"]:
                mode = "lfs" if b"\0" in base64.b64decode(each["sample"]) or each["size"] > 1e6 else "regular"
                oid = blob(known[each["path"]]) if each["path"] in known else None
                files.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
            self.send_json({"files": files})

    def batch(self, kind: str | None, name: str) -> None:
        if self.repo(kind or "models", name, write=True):
            objects = []
            for each in json.loads(self.body)["objects"]:
                actions = {"upload": {"href": f"{self.server.address}/store/{each['oid']}"}}
                actions["verify"] = {"href": f"{self.server.address}/stored"}
                objects.append(each if each["oid"] in self.server.objects else {**each, "actions": actions})
            self.send_json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.refuse(400)
        self.server.objects[oid] = self.body
        return self.send_json({})

    def stored(self) -> None:
        asked = json.loads(self.body)
        is_stored = len(self.server.objects.get(asked["oid"], b"")) == asked["size"]
        self.send_json({} if is_stored else {"error": "not there"}, 200 if is_stored else 404)

    def commit(self, kind: str, name: str, revision: str) -> None:
        if repo := self.repo(kind, name, write=True):
            files = dict(repo.at(revision)[1])
            for key, value in ((line["key"], line["value"]) for line in map(json.loads, self.body.splitlines())):
                if key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
                elif key == "deletedFile":
                    del files[value["path"]]
            oid = repo.commit(files)
            self.send_json(
                {"success": True, "commitOid": oid, "commitUrl": f"{self.server.address}/{name}/commit/{oid}"}
            )

    def tag(self, kind: str, name: str, revision: str) -> None:
        if repo := self.repo(kind, name, write=True):
            asked = json.loads(self.body)["tag"]
            if asked in repo.refs:
                return self.send_json({"error": "Tag reference exists already"}, 409)
            repo.refs[asked] = repo.at(revision)[0]
            self.send_json({})
        return None

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        if repo := self.repo(kind or "models", name):
            commit = repo.at(revision)
            if not commit:
                return self.refuse(404, "RevisionNotFound")
            oid, files = commit
            if path not in files:
                return self.refuse(404, "EntryNotFound", **{"X-Repo-Commit": oid})
            digest = hashlib.sha256(files[path]).hexdigest()
            self.send(200, files[path], {"ETag": f'"{digest}"', "X-Repo-Commit": oid, "Accept-Ranges": "bytes"})
        return None

    # --- replies

    def send_json(self, content: object, status: int = 200) -> None:
        self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str = "", **headers: str) -> None:
        if code := code or ERRORS.get(status, ""):
            headers["X-Error-Code"] = code
        self.send(status, b"{}", {"Content-Type": "application/json", **headers})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def blob(body: bytes) -> str:
    """Git's name for the content of a file."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


_KIND, _NAME, _LAST = "/api/(?P<kind>models|spaces)", "(?P<name>[^/]+/[^/]+)", "(?P<revision>[^/]+)"
_PLACE = f"/(?:(?P<kind>spaces)/)?{_NAME}"
ROUTES = (
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/repos/create", "create"),
    ("POST", "/api/validate-yaml", "validate"),
    ("GET", f"{_KIND}/{_NAME}(?:/revision/{_LAST})?", "info"),
    ("GET", f"{_KIND}/{_NAME}/tree/{_LAST}", "tree"),
    ("GET", f"{_KIND}/{_NAME}/refs", "refs"),
    ("POST", f"{_KIND}/{_NAME}/preupload/{_LAST}", "preupload"),
    ("POST", rf"{_PLACE}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", "/store/(?P<oid>[0-9a-f]{64})", "store"),
    ("POST", "/stored", "stored"),
    ("POST", f"{_KIND}/{_NAME}/commit/{_LAST}", "commit"),
    ("POST", f"{_KIND}/{_NAME}/tag/{_LAST}", "tag"),
    (("GET", "HEAD"), f"{_PLACE}/resolve/{_LAST}/(?P<path>.+)", "resolve"),
)
