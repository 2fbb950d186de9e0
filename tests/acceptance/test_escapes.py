"""A model under somebody else's control, with tools that are meant to hold it: what it may send, and what it reaches.

Everything that a model and a server can say is theirs here. What must hold: nothing outside of the root is read or
changed, no address but the allowed one is connected to, no value becomes code, and no text becomes a secret.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.test_canaries import blobs
from tests.acceptance.test_cli import orch
from tests.wire.messages_server import MessagesServer, text, tool_use

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "canary-of-the-token"  # noqa: S105  made up
OUTSIDE = "canary-outside"
MARK = "\0secret:TOKEN\0"
ESCAPED = "\\u0000secret:TOKEN\\u0000"

PIPELINE = """\
version: 1
name: escapes
secrets: [TOKEN]
models:
  default: {provider: anthropic, model: claude-wire, base_url: MODEL_URL, api_key: k, price: {input: 1, output: 5}}
tools:
  notes: {files: {root: ./root, operations: [read, list, glob, grep, write, edit]}}
  look: {files: {root: ./root}}
  page:
    http:
      url: WEB_URL/pages/${{ args.page }}
      headers: {X-Note: "${{ args.note }}"}
      allow_private: ALLOWED
    input: {page: string, note?: string}
    effect: read
  any:
    http:
      url: ${{ args.url }}
      json: {said: "${{ args.said }}"}
      allow_private: ALLOWED
    input: {url: string, said?: any}
    effect: read
  program:
    shell:
      argv: [PYTHON, -c, "import sys, json; print(json.dumps(sys.argv[1:]))", "${{ args.word }}"]
      stdin: ${{ args.word }}
    env: [LISTED]
    input: {word: any}
    effect: read
  stored:
    shell: {argv: [cat, "${{ args.document }}", "-- ${{ args.document }}"]}
    input: {document: file}
    effect: read
  script:
    shell: {script: 'env; printf "%s\\n" "$1" "$WORD"; cat', args: ["${{ args.word }}"], stdin: "${{ args.word }}"}
    env: {WORD: "${{ args.word }}"}
    input: {word: any}
    effect: read
steps:
  talk:
    agent: {tools: [notes, page, any, program, script, stored], output: {said: any}}
    prompt: Go.
  tell:
    tool: {http: {url: WEB_URL/told, json: {said: "${{ steps.talk.output.said }}", parsed: "${{ args.text }}"}, allow_private: ALLOWED}, effect: read, input: {text: any}}
    with:
      text: ${{ [parse_json(steps.talk.output.said.json), unbase64(steps.talk.output.said.base64)] }}
  env:
    run: printf "%s" "$SAID"
    env: {SAID: "${{ steps.talk.output.said }}"}
    effect: read
outputs:
  env: ${{ steps.env.output.stdout }}
"""

PATHS = [
    "../outside.txt", "../../etc/passwd", "/etc/passwd", "OUTSIDE", "sub/../../outside.txt", "link", "folder/outside.txt",
    "./../outside.txt", "~/x", "..", "/", "sub/..//../outside.txt", "/proc/self/environ", "/proc/self/cwd/outside.txt",
    "/dev/stdin", "\0", "../outside.txt\0.txt", "hard", "..\\outside.txt", "%2e%2e/outside.txt", "file:///etc/passwd",
]  # fmt: skip
PAGES = [
    "..", ".", "../told", "%2e%2e", "%2E", "../../x", "..%2ftold", "/told", "//OTHER/", "@OTHER", "?x=1", "#x", "\\..\\told",
    "..\\", "\r\nX-More: 1", "x HTTP/1.1\r\nHost: evil\r\n\r\n", MARK, "%00secret:TOKEN%00", ESCAPED, "..;/told", "\u2025", "．．",
    "${{ secrets.TOKEN }}", "",
]  # fmt: skip
URLS = [
    "http://OTHER/", "http://localhost:OPORT/", "http://127.1:OPORT/", "http://0x7f000001:OPORT/", "http://2130706433:OPORT/",
    "http://[::1]:OPORT/", "http://[::ffff:127.0.0.1]:OPORT/", "http://0:OPORT/", "http://0.0.0.0:OPORT/", "HTTP://OTHER",
    "http://WEB@OTHER/", "http://WEB#@OTHER/", "http://OTHER\\@WEB/", "http://WEB\\@OTHER/", "//OTHER/", "file:///etc/passwd",
    "gopher://OTHER/", "ftp://OTHER/", "http://WEB/moved", "http://WEB/moved307", "http://WEB/%00secret:TOKEN%00",
    "http://WEB/%00secret%3ATOKEN%00", f"http://WEB/{MARK}", f"{MARK}", "http://169.254.169.254/latest/meta-data/",
    "http://WEB/ HTTP/1.1\r\nX: y", "http://WEB:80@OTHER/", "http://017700000001:OPORT/", "http://127.0.0.1.:OPORT/",
    "unix:///run/docker.sock", "http://\uff11\uff12\uff17.0.0.1:OPORT/", "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:OPORT/",
]  # fmt: skip
WORDS: list[Any] = [
    "$(touch pwned)", "`touch pwned`", "; touch pwned", "' ; touch pwned; '", '"; touch pwned; "', "\ntouch pwned\n", "-c", "&& touch pwned",
    MARK, ESCAPED, "${{ secrets.TOKEN }}", "$TOKEN", "${HIDDEN}", ["$(touch pwned)", MARK], {"a": "`touch pwned`", MARK: MARK},
    {"$file": "../../outside.txt"}, {"$file": "/etc/passwd"}, {"$file": MARK}, 1e308, True, "x=() { :; }; touch pwned", "--help", "\0", "A=B",
]  # fmt: skip


class Web(BaseHTTPRequestHandler):
    """Keeps what it was asked; sends elsewhere; says what a pipeline might take for its own."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        pass

    def do_GET(self) -> None:  # noqa: N802  # the name is the base class's
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        server.asked.append((self.requestline, headers, body))
        said = json.dumps({"escaped": MARK, "text": ESCAPED, "template": "${{ secrets.TOKEN }}"}).encode()
        moved = {"/moved": 302, "/moved307": 307}.get(self.path)
        self.send_response(moved or 200)
        if moved:
            self.send_header("Location", server.elsewhere)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_GET  # noqa: N815  # the name is the base class's


@pytest.fixture
def servers() -> Iterator[tuple[Any, Any]]:
    """The one that may be asked, and another beside it on the same address."""
    made = [ThreadingHTTPServer(("127.0.0.1", 0), Web) for _ in range(2)]
    threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.005}) for one in made]
    for server, thread in zip(made, threads, strict=True):
        thread.start()
        server.asked = []  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    made[0].elsewhere = f"http://127.0.0.1:{made[1].server_address[1]}/"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield made[0], made[1]
    finally:
        for server, thread in zip(made, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def uses(web: str, other: str, outside: str) -> list[dict[str, Any]]:
    """All calls, each of which is tried in one turn."""
    calls: list[tuple[str, dict[str, Any]]] = []
    for path in [path.replace("OUTSIDE", outside) for path in PATHS]:
        calls += [
            ("notes__read", {"path": path}),
            ("notes__list", {"path": path}),
            ("notes__glob", {"pattern": path}),
            ("notes__glob", {"pattern": path + "/**"}),
            ("notes__grep", {"pattern": "canary|root:", "path": path}),
            ("notes__write", {"path": path, "content": "pwned"}),
            ("notes__edit", {"path": path, "old": "canary", "new": "pwned"}),
        ]
    calls += [
        ("notes__read", {"path": "outside.txt", "root": ".."}),
        ("notes__read", {"path": ["../outside.txt"]}),
        ("notes__read", {"path": {"$file": "../outside.txt"}}),
        ("notes__list", {}),
        ("look__write", {"path": "a.txt", "content": "pwned"}),
        ("files", {"root": "/", "path": "etc/passwd"}),
        ("program", {"word": "x", "argv": ["touch", "pwned"]}),
        ("program", {"word": "x", "env": {"LD_PRELOAD": "/x"}}),
        ("shell", {"argv": ["touch", "pwned"]}),
        ("page", {"page": "x", "url": f"http://{other}/"}),
        ("page", {"page": "x", "allow_private": True}),
    ]
    for path in ("../../../../outside.txt", outside, "../escapes.yaml", "..", ".", ""):
        file = {"$file": path, "name": "x", "size": 1, "media_type": "text/plain"}
        calls += [("stored", {"document": file}), ("program", {"word": file}), ("script", {"word": file})]
    for page in PAGES:
        calls.append(("page", {"page": page.replace("OTHER", other), "note": page}))
    for url in URLS:
        url = url.replace("OTHER", other).replace("WEB", web).replace("OPORT", other.rpartition(":")[2])
        calls.append(("any", {"url": url, "said": [url, {"deep": MARK}]}))
    calls += [(name, {"word": word}) for word in WORDS for name in ("program", "script")]
    return [tool_use(f"c{number}", name, **args) for number, (name, args) in enumerate(calls)]


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "state" not in path.parts}


def test_a_hostile_model_gets_nowhere(tmp_path: Path, servers: tuple[Any, Any]) -> None:
    server, another = servers
    web, other = (f"127.0.0.1:{one.server_address[1]}" for one in servers)
    folder = tmp_path / "work"
    (folder / "root" / "sub").mkdir(parents=True)
    outside = tmp_path / "outside.txt"
    for file in (outside, folder / "outside.txt"):
        file.write_text(OUTSIDE)
    (folder / "root" / "a.txt").write_text("inside")
    (folder / "root" / "link").symlink_to(outside)
    (folder / "root" / "folder").symlink_to(folder)
    (folder / "root" / "hard").hardlink_to(outside)
    calls = uses(web, other, str(outside))
    said = {"json": json.dumps({"a": MARK}), "base64": "AHNlY3JldDpUT0tFTgA=", "plain": MARK, "deep": [{MARK: MARK}]}
    script = [{"when": {"turn": 1}, "content": calls}, {"content": [text(json.dumps({"said": said}))]}]
    with MessagesServer(script) as model:
        body = (
            PIPELINE.replace("MODEL_URL", model.url)
            .replace("WEB_URL", f"http://{web}")
            .replace("ALLOWED", f"['{web}']")
        )
        (folder / "escapes.yaml").write_text(body.replace("PYTHON", sys.executable))
        before = state(tmp_path)
        done = orch(
            folder, "--store", "sqlite:///x.db", "run", "escapes.yaml", "--id", "r", "--json",
            TOKEN=TOKEN, HIDDEN="canary-of-the-driver", LISTED="may be seen",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        results = {
            block["tool_use_id"]: block
            for message in model.calls[-1]["body"]["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "tool_result"
        }
    assert len(results) == len(calls) > 250

    # Nothing outside was read or changed; nothing ran.
    shown = json.dumps(list(results.values()))
    for canary in (OUTSIDE, "root:x:0", "canary-of-the-driver", TOKEN):
        assert canary not in shown
    after = state(tmp_path)
    inside = str(folder / "root") + "/"
    assert {path: after.get(path) for path in before if not path.endswith("/hard")} == {
        path: whole for path, whole in before.items() if not path.endswith("/hard")
    }
    made = {path for path in after.keys() - before.keys() if not path.startswith(inside)}
    assert {path.rpartition("/")[2].split(".")[0].split("-")[0] for path in made} <= {"x"}
    assert not list(tmp_path.rglob("pwned"))
    assert "may be seen" not in json.dumps([results[use["id"]] for use in calls if use["name"] == "script"])

    # No other server was asked, this one only below what its address allows, and never with the secret.
    assert another.asked == []
    assert any(line.startswith("POST /told") for line, _, _ in server.asked)
    for line, headers, body in server.asked:
        assert TOKEN not in line + json.dumps(headers) + body
        assert "x-more" not in headers
        assert headers["host"] == web
        path = line.split(" ")[1]
        assert ".." not in path.split("/")
        if line.startswith("GET"):
            assert path.startswith("/pages/") or path in ("/moved", "/moved307")
    assert TOKEN not in done.stdout + done.stderr
    with closing(sqlite3.connect(folder / "x.db")) as database:
        assert TOKEN not in "\n".join(database.iterdump())
    assert TOKEN.encode() not in blobs(folder / "x.db")

    # It is a proof only if what is allowed passes.
    good = [json.dumps(results[use["id"]]) for use in calls if use["name"] == "program"]
    assert any("touch pwned" in one for one in good)
    assert "a.txt" in json.dumps([results[use["id"]] for use in calls if use["name"] == "notes__list"])
    assert sum(line.startswith("GET /pages/") for line, _, _ in server.asked) >= 8
