"""Secrets whose values are canaries, given to everything that may hold one, and echoed back by everything that can.

No form of them may stand in the store, in a file that a run leaves, or in anything that a command prints.
"""

from __future__ import annotations

import base64
import html
import json
import re
import sqlite3
import threading
import zlib
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest

from tests.acceptance.test_cli import orch
from tests.wire.messages_server import MessagesServer, text, tool_use

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = (
    "ENV_KEY",
    "BEARER_KEY",
    "BASIC_KEY",
    "HEADER_KEY",
    "QUERY_KEY",
    "URL_KEY",
    "MODEL_KEY",
    "MODEL_HEADER",
    "SPARE_KEY",
)
SECRETS = {name: f'cnry{index}+/=&"\\%<{name.lower()}>zq' for index, name in enumerate(NAMES)}

ECHO = r"""
import base64, json, os, sys
from urllib.parse import quote
value = os.environ["ENV_KEY"]
print(value)
print(base64.b64encode(value.encode()).decode(), base64.b64encode(b"x" + value.encode()).decode())
print(base64.urlsafe_b64encode(b"xy" + value.encode()).decode(), value.encode().hex(), quote(value, safe=""))
print(json.dumps({"deep": [json.dumps({value: value})]}), repr(value))
print(base64.encodebytes(b"." * 40 + value.encode()).decode())
print("before", value, "after", file=sys.stderr)
sys.stderr.write(value[:9]); sys.stderr.flush(); sys.stderr.write(value[9:] + "\n")
open("kept.txt", "w").write("file: " + value)
"""

FUNCTIONS = r"""
import base64, os, sys

def echoes(context, what: str) -> dict:
    value = os.environ["SPARE_KEY"]
    context.log.warning("logged %s", value)
    print("printed", value)
    for line in base64.encodebytes(b"." * 40 + value.encode()).splitlines():
        print(line.decode())
    sys.stdout.write(value[:7]); sys.stdout.write(value[7:] + "\n")
    print("complained", value, file=sys.stderr)
    sys.stderr.write(value[:7]); sys.stderr.write(value[7:] + "\n")
    return {"value": value, "list": [value, {value: 1}], "what": what, "long": value * 3000}

def raises() -> dict:
    value = os.environ["SPARE_KEY"]
    try:
        raise KeyError(value)
    except KeyError as error:
        raise ValueError(f"no luck with {value}") from error
"""

PIPELINE = """\
version: 1
name: canaries
secrets: [NAMES]
models:
  default:
    provider: anthropic
    model: claude-wire
    base_url: MODEL_URL
    api_key: ${{ secrets.MODEL_KEY }}
    headers: {x-extra: "${{ secrets.MODEL_HEADER }}"}
    price: {input: 1, output: 5}
tools:
  echo:
    shell: {argv: [PYTHON, echo.py]}
    env: {ENV_KEY: "${{ secrets.ENV_KEY }}"}
    effect: read
  bearer:
    http:
      url: WEB_URL/${{ args.path }}
      auth: {bearer: "${{ secrets.BEARER_KEY }}"}
      headers: {x-key: "key ${{ secrets.HEADER_KEY }}"}
      query: {key: "${{ secrets.QUERY_KEY }}"}
      allow_private: [127.0.0.1]
    input: {path: string}
    effect: read
  basic:
    http:
      url: WEB_URL/ok/${{ secrets.URL_KEY }}
      auth: {basic: [me, "${{ secrets.BASIC_KEY }}"]}
      allow_private: [127.0.0.1]
    effect: read
  say: {shell: {script: "printf '%s' \\"$1\\"", args: ["${{ args.what }}"]}, input: {what: string}, effect: read}
steps:
  shell: {tool: echo}
  script:
    run: |
      echo "out $ENV_KEY"; echo "err $ENV_KEY" >&2; cp echo.py kept.py; printf '%s' "$ENV_KEY" > kept.bin; exit 3
    env: {ENV_KEY: "${{ secrets.ENV_KEY }}"}
    on_error: continue
    effect: read
  kept:
    run: printf 'a %s b' "$ENV_KEY" > kept.bin
    env: {ENV_KEY: "${{ secrets.ENV_KEY }}"}
    files: {report: kept.bin}
    on_error: continue
    effect: read
  bearer: {tool: bearer, with: {path: ok}}
  bad: {tool: bearer, with: {path: fail}, on_error: continue}
  moved: {tool: bearer, with: {path: moved}, on_error: continue}
  gone: {tool: bearer, with: {path: gone}, on_error: continue}
  basic: {tool: basic}
  function: {python: "canary_functions:echoes", with: {what: x}, effect: read}
  raises: {python: "canary_functions:raises", on_error: continue, effect: read}
  talk:
    agent: {instructions: Be brief., tools: [echo, say, bearer]}
    prompt: "Go on from ${{ steps.shell.output.stdout }}"
  refused:
    needs: [talk]
    agent: {}
    prompt: Fail.
    on_error: continue
outputs:
  shell: ${{ steps.shell.output }}
  bearer: ${{ steps.bearer.output }}
  basic: ${{ steps.basic.output }}
  function: ${{ steps.function.output.list }}
  talk: ${{ steps.talk.output }}
  errors: ${{ [steps.script.error, steps.bad.error, steps.moved.error, steps.gone.error, steps.raises.error, steps.refused.error, steps.kept.error] }}
"""


def forms(value: str) -> Iterator[bytes]:
    """The value as it may be found: written down here anew, so that no mistake is shared with what is tested."""
    raw = value.encode()
    once = json.dumps(value)[1:-1]
    found = {
        value,
        once,
        json.dumps(once)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
        html.escape(value, quote=False),
    }
    found |= {quote(value), quote(value, safe=""), quote_plus(value), raw.hex(), raw.hex().upper()}
    for shift in range(3):
        whole = base64.b64encode(b"." * shift + raw)
        inner = whole[4 if shift else 0 : -4].decode()
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    for form in found:
        yield form.encode()


FORMS = {form: name for name, value in SECRETS.items() for form in forms(value)}


def found_in(data: bytes) -> set[str]:
    """The forms in ``data``, also where they are broken over lines, as they stand or escaped."""
    joined = re.sub(rb"\s|\\n", b"", data)
    return {f"{name} as {form!r}" for form, name in FORMS.items() if form in data or form in joined}


class Web(BaseHTTPRequestHandler):
    """Says back all that it was asked with."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        pass

    def do_GET(self) -> None:  # noqa: N802  # the name is the base class's
        asked = {"path": self.path, "headers": dict(self.headers.items())}
        said = json.dumps(asked) + base64.b64encode(json.dumps(asked).encode()).decode()
        if "/gone" in self.path:
            self.connection.close()
            return
        self.send_response(500 if "/fail" in self.path else 302 if "/moved" in self.path else 200)
        self.send_header("x-echo", quote(said[:2000], safe=""))
        if "/moved" in self.path:
            self.send_header("location", f"http://10.1.2.3/{self.headers['authorization']}")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())


@pytest.fixture
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def script() -> list[dict[str, Any]]:
    """A model that knows the secrets, and tells them in every way that it has."""
    value, other = SECRETS["MODEL_KEY"], SECRETS["MODEL_HEADER"]
    coded = base64.b64encode(value.encode()).decode()
    thought = {"type": "thinking", "thinking": f"the key is {value}", "signature": "sig"}
    uses = [tool_use("c1", "echo"), tool_use("c2", "say", what=f"it is {value}"), tool_use("c3", "bearer", path="ok")]
    escaped = "".join(f"\\u{ord(char):04x}" for char in other)
    raw = {"type": "tool_use", "id": "c4", "name": "say", "partial": f'{{"what": "{escaped}"}}'}
    return [
        {"when": {"last": "Fail."}, "status": 400, "error": {"type": f"bad {value}", "message": f"x-api-key {value} {coded}"}},
        {"when": {"turn": 1}, "content": [thought, text(f"Key {value} and {coded}"), *uses, raw], "chunk": 3},
        {"content": [text(f"{value}{other} {quote(other)} {other[:10]}"), text(other)], "chunk": 2, "id": f"m {value}"},
    ]  # fmt: skip


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "echo.py").write_text(ECHO)
    (folder / "canary_functions.py").write_text(FUNCTIONS)
    return folder


def written(folder: Path, model_url: str, web_url: str) -> None:
    import sys

    body = PIPELINE.replace("NAMES", ", ".join(NAMES)).replace("MODEL_URL", model_url).replace("WEB_URL", web_url)
    (folder / "canaries.yaml").write_text(body.replace("PYTHON", sys.executable))


def blobs(path: Path) -> bytes:
    """All that is stored compressed, as it is read."""
    with closing(sqlite3.connect(path)) as database:
        table = next(name for (name,) in database.execute("SELECT name FROM sqlite_master") if name.endswith("blobs"))
        parts: dict[str, bytes] = {}
        for digest, body in database.execute(f"SELECT hash, body FROM {table} ORDER BY hash, part"):  # noqa: S608
            parts[digest] = parts.get(digest, b"") + body
    return b"\n".join(zlib.decompress(body) for body in parts.values())


def test_no_canary_is_found_anywhere(tmp_path: Path, web: str) -> None:
    folder = folder_of(tmp_path)
    said: dict[str, bytes] = {}

    def call(name: str, *args: str, code: int = 0) -> bytes:
        done = orch(folder, *args, **SECRETS)
        said[name] = f"{done.stdout}\n{done.stderr}".encode()
        assert done.returncode == code, said[name].decode()
        return done.stdout.encode()

    store = ("--store", "sqlite:///x.db")
    with MessagesServer(script()) as server:
        written(folder, server.url, web)
        out = call("run", "--json", "-v", *store, "run", "canaries.yaml", "--id", "r", "--events", "events.jsonl")
        assert SECRETS["MODEL_KEY"] in server.calls[0]["headers"]["authorization"]
        assert server.calls[0]["headers"]["x-extra"] == SECRETS["MODEL_HEADER"]
    call("show", *store, "show", "r", "--io")
    call("records", *store, "--json", "show", "r", "--records", "--io")
    call("step", *store, "show", "r", "--step", "talk/turn1")
    call("logs", *store, "-v", "logs", "r")
    call("export", *store, "export", "r")
    call("verify", *store, "verify", "r")
    call("list", *store, "--json", "list")
    call("graph", *store, "graph", "r", "--format", "json")
    call("resume", *store, "-v", "resume", "r")
    call("plan", *store, "run", "canaries.yaml", "--plan")
    call("validate", "validate", "canaries.yaml")
    call("doctor", *store, "doctor")

    # It is a proof only if the echoes came: each secret was there, and its mark stands in its place.
    outputs = json.loads(out)
    assert len(outputs["errors"]) == 7
    assert None not in outputs["errors"]
    marks = said["records"] + said["run"] + (folder / "events.jsonl").read_bytes()
    assert {name for name in NAMES if f"***{name}***".encode() not in marks} == set()
    assert outputs["talk"].count("***MODEL_KEY***") == 1
    assert outputs["talk"].count("***MODEL_HEADER***") >= 3

    # The scripts of the test hold no value, and the files of its tools do.
    own = {"echo.py", "canary_functions.py", "canaries.yaml", "kept.txt", "kept.bin", "kept.py"}
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.name not in own]
    names = {file.name for file in files}
    assert {"x.db", "events.jsonl"} <= names
    said |= {str(file.relative_to(tmp_path)): file.read_bytes() for file in files}
    said["blobs"] = blobs(folder / "x.db")
    assert b"***SPARE_KEY***" in said["blobs"]
    assert {name: hits for name, data in said.items() if (hits := found_in(data))} == {}


BROKEN = """
import os
from orchestrator.engine import host

async def start(self, *args, **more):
    raise RuntimeError("lost " + os.environ["SPARE_KEY"])

host.Host.start = start
"""


@pytest.mark.parametrize("flags", [[], ["--json"], ["--debug"]])
def test_a_bug_report_holds_no_secret(tmp_path: Path, flags: list[str]) -> None:
    folder = folder_of(tmp_path)
    (folder / "one.yaml").write_text(
        "version: 1\nname: one\nsecrets: [SPARE_KEY]\nsteps:\n  a: {run: echo, env: {X: '${{ secrets.SPARE_KEY }}'}}\n"
    )
    (folder / "sitecustomize.py").write_text(BROKEN)
    done = orch(folder, *flags, "--store", "sqlite:///x.db", "run", "one.yaml", PYTHONPATH=str(folder), **SECRETS)
    assert done.returncode == 70, done.stderr
    (report,) = (folder / "state").rglob("bug-*.txt")
    assert "lost ***SPARE_KEY***" in report.read_text()
    assert found_in(report.read_bytes() + done.stdout.encode() + done.stderr.encode()) == set()
