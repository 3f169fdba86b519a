"""A hub of datasets on loopback: as much of it as `huggingface_hub` and `datasets` ask for."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class DatasetHub:
    """Datasets by name, each a list of commits; the last one is `main`.

    Attributes:
        requests: method, path and authorization of everything that was asked.
        token: where set, the only one that is let in.
    """

    def __init__(self):
        self.requests = []
        self.token = ""
        self._commits = {}
        self._server = None

    def push(self, name, files):
        """Another commit of a dataset; returns its hash."""
        before = self._commits.setdefault(name, [])
        mark = hashlib.sha1(repr((name, len(before), sorted(files.items()))).encode())
        before.append((mark.hexdigest(), dict(files)))
        return mark.hexdigest()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, method, path, headers):
        """Status, headers and body."""
        parts = urlsplit(path)
        asked = unquote(parts.path).strip("/").split("/")
        self.requests.append((method, unquote(parts.path), headers.get("Authorization", "")))
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if asked[:2] == ["api", "datasets"]:
            name, rest = "/".join(asked[2:4]), asked[4:]
        elif asked[:1] == ["datasets"]:
            name, rest = "/".join(asked[1:3]), asked[3:]
        else:
            return 404, {}, b"{}"
        if name not in self._commits:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        revision = rest[1] if len(rest) > 1 else "main"
        found = self._find(name, revision)
        if found is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        commit, files = found
        if asked[0] == "datasets":
            return self._file(commit, files, "/".join(rest[2:]))
        if rest[:1] == ["tree"]:
            return self._tree(files, "/".join(rest[2:]))
        return self._info(name, commit, files)

    def paths_info(self, path, paths):
        asked = unquote(urlsplit(path).path).strip("/").split("/")
        self.requests.append(("POST", "/".join(asked), ""))
        found = self._find("/".join(asked[2:4]), asked[5])
        files = found[1] if found else {}
        listed = [_entry(name, files[name]) for name in paths if name in files]
        folders = {name.rpartition("/")[0] for name in files} - {""}
        listed += [_folder(name) for name in paths if name in folders]
        return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()

    def _find(self, name, revision):
        commits = self._commits.get(name, [])
        if revision == "main" and commits:
            return commits[-1]
        return next((one for one in commits if one[0] == revision), None)

    def _file(self, commit, files, name):
        if name not in files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        content = files[name]
        mark = hashlib.sha256(content).hexdigest()
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{mark}"'}, content

    def _tree(self, files, below):
        listed = [_entry(name, content) for name, content in files.items()]
        folders = sorted({name.rpartition("/")[0] for name in files} - {""})
        listed += [_folder(name) for name in folders]
        inside = [one for one in listed if not below or one["path"].startswith(f"{below}/")]
        return 200, {"Content-Type": "application/json"}, json.dumps(inside).encode()

    def _info(self, name, commit, files):
        document = {
            "id": name,
            "sha": commit,
            "private": False,
            "tags": [],
            "siblings": [{"rfilename": one} for one in files],
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()

    @contextmanager
    def serving(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _send(self, status, headers, body):
                self.send_response(status)
                for key, value in {**headers, "Content-Length": len(body)}.items():
                    self.send_header(key, str(value))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_GET(self):
                self._send(*hub.answer(self.command, self.path, self.headers))

            def do_HEAD(self):
                self.do_GET()

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                paths = json.loads(body or b"{}").get("paths", [])
                self._send(*hub.paths_info(self.path, paths))

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def _entry(name, content):
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "oid": oid, "size": len(content), "path": name}


def _folder(name):
    return {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "path": name}
