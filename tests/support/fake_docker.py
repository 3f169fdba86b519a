"""A real executable called docker: keeps containers in a file, serves a NIM's health for real.

It renders the templates that it is asked for from documents of docker's own shape, with the
key's value among them, so that a careless question would leak it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path

PROGRAM = r"""
import json, os, re, subprocess, sys, time
from pathlib import Path

home = Path(__file__).parent
state_path = home / "state.json"
state = json.loads(state_path.read_text())
arguments = sys.argv[1:]
with (home / "calls.jsonl").open("a") as stream:
    stream.write(json.dumps({"argv": sys.argv, "environment": dict(os.environ)}) + "\n")


def leave(code, out="", err=""):
    state_path.write_text(json.dumps(state))
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.exit(code)


def options(name):
    return [arguments[i + 1] for i, word in enumerate(arguments) if word == name]


def render(template, document):
    def value(match):
        found = document
        for part in match[1].split("."):
            found = found[part]
        return json.dumps(found)

    return re.sub(r"\{\{json \.([A-Za-z.]+)\}\}", value, template)


def find(name):
    for document in state["containers"]:
        if name in (document["Id"], document["Name"].lstrip("/")):
            return document
    leave(1, err=f"Error response from daemon: No such container: {name}\n")


if state["hang"]:
    (home / "pid").write_text(str(os.getpid()))
    time.sleep(60)
if state["daemon"]:
    leave(1, err=state["daemon"] + "\n")
if arguments[0] == "version":
    leave(0, out="28.2.2\n")
if arguments[0] == "info":
    leave(0, out=render(options("--format")[0], {"Runtimes": state["runtimes"]}) + "\n")
if arguments[0] == "run":
    if state["refuses"]:
        leave(125, err=state["refuses"] + "\n")
    name, outcome = options("--name")[0], state["outcome"]
    if any(document["Name"] == "/" + name for document in state["containers"]):
        leave(125, err=f'Conflict. The container name "/{name}" is already in use by container\n')
    pid = 0
    if outcome["status"] == "running" and outcome["model"]:
        port = options("--publish")[0].split(":")[1]
        server = [sys.executable, str(home / "server.py"), port, outcome["model"]]
        quiet = subprocess.DEVNULL
        pid = subprocess.Popen(
            server, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        ).pid
    names = [entry for entry in options("--env")]
    number = len(state["containers"]) + len(state["removed"]) + 1
    state["containers"].append({
        "Id": f"{number:064x}",
        "Name": "/" + name,
        "Config": {
            "Labels": dict(label.split("=", 1) for label in options("--label")),
            "Env": [e if "=" in e else f"{e}={os.environ[e]}" for e in names],
        },
        "State": {"Status": outcome["status"], "ExitCode": outcome["exit_code"]},
        "log": outcome["log"],
        "pid": pid,
    })
    leave(0, out=state["containers"][-1]["Id"] + "\n")
verb = arguments[1]
if arguments[0] == "image":
    if arguments[-1] not in state["images"]:
        leave(1, err=f"Error response from daemon: No such image: {arguments[-1]}\n")
    leave(0, out=render(options("--format")[0], {"Size": state["images"][arguments[-1]]}) + "\n")
if verb == "ls":
    label = options("--filter")[0].removeprefix("label=")
    found = [d["Id"] for d in state["containers"] if label in (d["Config"]["Labels"] or {})]
    leave(0, out="".join(id + "\n" for id in found))
document = find(arguments[-1])
if verb == "inspect":
    leave(0, out=render(options("--format")[0], document) + "\n")
if verb == "logs":
    lines = document["log"].splitlines()[-int(options("--tail")[0]):]
    leave(0, err="\n".join(lines) + "\n")
if verb in ("stop", "rm"):
    if document["pid"]:
        os.kill(document["pid"], 15)
        document["pid"] = 0
    document["State"]["Status"] = "exited"
    if verb == "rm":
        state["containers"].remove(document)
        state["removed"].append(document["Id"])
    leave(0, out=arguments[-1] + "\n")
leave(2, err=f"unknown command {arguments}\n")
"""

SERVER = r"""
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        bodies = {
            "/v1/health/ready": {"object": "health.response", "message": "ready"},
            "/v1/models": {"object": "list", "data": [{"id": sys.argv[2]}]},
        }
        body = json.dumps(bodies.get(self.path, {})).encode()
        self.send_response(200 if self.path in bodies else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

KEY = "nvapi-0123456789abcdef"
"""What the tests' NGC_API_KEY holds; it must stand in no argument."""


class FakeDocker:
    """Sets the executable up, says how it behaves, and tells what it was asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.program = folder / "docker"
        self.program.write_text(f"#!{sys.executable} -SE\n{PROGRAM}")
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        (folder / "server.py").write_text(SERVER)
        self._write(
            {
                "daemon": "",
                "hang": False,
                "runtimes": {"runc": {"path": "runc"}, "nvidia": {"path": "nvidia"}},
                "refuses": "",
                "outcome": {"status": "running", "exit_code": 0, "log": "", "model": "served"},
                "images": {},
                "containers": [],
                "removed": [],
            }
        )

    def _read(self):
        return json.loads((self.folder / "state.json").read_text())

    def _write(self, state):
        (self.folder / "state.json").write_text(json.dumps(state))

    def set(self, **changes):
        """Change how it behaves from now on."""
        self._write(self._read() | changes)

    def will(self, **outcome):
        """Change what becomes of the next container."""
        self.set(outcome=self._read()["outcome"] | outcome)

    def add(self, name, labels, status="running", log=""):
        """A container that is there already; returns its id."""
        state = self._read()
        id_ = f"{name}-id"
        state["containers"].append(
            {
                "Id": id_,
                "Name": f"/{name}",
                "Config": {"Labels": labels, "Env": ["NGC_API_KEY=nvapi-of-somebody-else"]},
                "State": {"Status": status, "ExitCode": 0},
                "log": log,
                "pid": 0,
            }
        )
        self._write(state)
        return id_

    @property
    def containers(self):
        """Name to status of what exists."""
        return {d["Name"][1:]: d["State"]["Status"] for d in self._read()["containers"]}

    @property
    def calls(self):
        """Every call: its argv and its environment."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def commands(self):
        """The arguments of every call."""
        return [call["argv"][1:] for call in self.calls]

    def close(self):
        """End the servers of containers that still run."""
        for document in self._read()["containers"]:
            if document["pid"]:
                with suppress(ProcessLookupError):
                    os.kill(document["pid"], signal.SIGKILL)
