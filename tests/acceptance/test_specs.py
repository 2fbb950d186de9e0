"""Every pipeline in specs/ is validated and run, through `orch` as a process, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.tools.sandbox import why_none
from tests.wire.messages_server import text, tool_use
from tests.wire.openai_server import OpenAIServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
# What a child may see of this process: no key of a provider, no proxy, no configuration of orch.
ENV = {key: os.environ[key] for key in ("PATH", "LANG", "TZ", "TMPDIR") if key in os.environ}


def orch(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `orch` there, with a state directory and a home of its own."""
    env = ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "NO_PROXY": "*"} | variables
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *args],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def outputs(folder: Path, spec: str, *args: str, code: int = 0, **variables: str) -> Any:
    """What a run of that file prints to stdout."""
    done = orch(folder, "run", str(SPECS / spec), "--store", "sqlite:///runs.db", *args, **variables)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def records(folder: Path, kind: str) -> int:
    with closing(sqlite3.connect(folder / "runs.db")) as db:
        return db.execute("SELECT count(*) FROM journal WHERE kind = ?", (kind,)).fetchone()[0]


def test_all_validate_without_a_finding(tmp_path: Path) -> None:
    done = orch(tmp_path, "validate", "--strict", str(SPECS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(list(SPECS.glob('*.yaml')))} files: valid" in done.stderr


@pytest.mark.parametrize("spec", sorted(SPECS.glob("*.yaml")), ids=lambda spec: spec.name)
def test_says_at_its_head_how_to_run_it(spec: Path) -> None:
    head = spec.read_text().split("version: 1")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"orch run specs/{spec.name}" in head


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small folder of sources to measure."""
    source = tmp_path / "project"
    (source / "pkg").mkdir(parents=True)
    (source / "pkg" / "long.py").write_text("# a comment\n\n" + "x = 1\n" * 30)
    (source / "pkg" / "short.py").write_text("y = 2\n")
    (source / "middle.go").write_text("// a comment\n" + "package main\n" * 7)
    (source / "notes.txt").write_text("not a source file\n")
    (source / ".hidden").mkdir()
    (source / ".hidden" / "skipped.py").write_text("z = 3\n")
    return source


def test_quickstart(tmp_path: Path, project: Path) -> None:
    done = orch(
        tmp_path, "run", str(SPECS / "quickstart.yaml"), "--store", "sqlite:///runs.db", "-i", "path=project", "-i",
        "largest=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "report": "report.md",
        "files": 3,
        "lines": 41,
        "largest": ["pkg/long.py", "middle.go"],
        "model": "scripted (canned answers, no API was called)",
    }
    assert "scripted" in done.stderr
    report = (tmp_path / "report.md").read_text()
    assert "3 files, 41 lines, 38 of them code." in report
    assert "| `pkg/long.py` | 32 | 30 |" in report
    assert "- `middle.go`: It begins: // a comment" in report
    assert "no API was called" in report
    # Each of two agents answered once with a call of its tool, and once in the end.
    with closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        started = [path for (path,) in db.execute("SELECT path FROM journal WHERE kind = 'started'")]
    assert sum("/turn" in path and "/tool" not in path for path in started) == 4
    assert sum("/tool" in path for path in started) == 2


def test_quickstart_on_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    result = outputs(tmp_path, "quickstart.yaml", "-i", "path=nowhere", code=1)
    assert result["error"]["step"] == "walk"
    assert "nowhere" in result["error"]["message"]
    assert not (tmp_path / "report.md").exists()


def test_review_without_a_key_says_what_to_set(tmp_path: Path, project: Path) -> None:
    done = orch(tmp_path, "run", str(SPECS / "review.yaml"), "--store", "sqlite:///runs.db", "-i", f"path={project}")
    assert done.returncode == 4
    assert "ANTHROPIC_API_KEY" in done.stderr


def test_fanout(tmp_path: Path) -> None:
    assert outputs(tmp_path, "fanout.yaml") == {
        "lengths": [{"word": "alpha", "length": 5}, None, {"word": "gamma", "length": 5}],
        "ok": 2,
        "failed": ["boom"],
        "longest": "alpha",
    }


def test_fanout_of_other_words(tmp_path: Path) -> None:
    result = outputs(tmp_path, "fanout.yaml", "-i", 'words=["a", "ccc", "bb"]')
    assert [one["length"] for one in result["lengths"]] == [1, 3, 2]
    assert (result["ok"], result["failed"], result["longest"]) == (3, [], "ccc")


def test_retry(tmp_path: Path) -> None:
    assert outputs(tmp_path, "retry.yaml") == {"attempt": 3}
    assert (records(tmp_path, "started"), records(tmp_path, "failed")) == (3, 2)


def test_retry_without_a_need(tmp_path: Path) -> None:
    assert outputs(tmp_path, "retry.yaml", "-i", "fails=0") == {"attempt": 1}
    assert records(tmp_path, "started") == 1


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        ("low", {"action": "log", "page": "skipped", "said": "nobody was woken"}),
        ("medium", {"action": "ticket", "page": "skipped", "said": "nobody was woken"}),
        ("high", {"action": "page", "page": "done", "said": "waking the engineer on duty"}),
    ],
)
def test_switch(tmp_path: Path, severity: str, expected: dict[str, str]) -> None:
    assert outputs(tmp_path, "switch.yaml", "-i", f"severity={severity}") == expected


def test_switch_refuses_another_value(tmp_path: Path) -> None:
    done = orch(
        tmp_path, "run", str(SPECS / "switch.yaml"), "--store", "sqlite:///runs.db", "-i", "severity=dire"
    )  # fmt: skip
    assert done.returncode == 2
    assert "severity" in done.stderr


def test_structured(tmp_path: Path) -> None:
    assert outputs(tmp_path, "structured.yaml") == {
        "invoice": {"number": "4711", "amount": 99.5, "currency": "EUR", "due_days": 14},
        "total": "99.5 EUR",
    }


class Weather(BaseHTTPRequestHandler):
    """Answers one GET, after a 503 to the first, and keeps what is PUT."""

    def do_GET(self) -> None:
        self.server.seen.append(("GET", self.path, self.headers.get("Idempotency-Key"), None))
        if len(self.server.seen) == 1:
            return self.answer(503, {})
        return self.answer(200, {"city": "köln", "celsius": 11.5, "station": "dropped"})

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(("PUT", self.path, self.headers.get("Idempotency-Key"), body))
        puts = [seen for seen in self.server.seen if seen[0] == "PUT"]
        return self.answer(503 if len(puts) == 1 else 201, {})

    def answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def weather() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Weather)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_http(tmp_path: Path) -> None:
    with weather() as server:
        base = f"http://127.0.0.1:{server.server_port}"
        result = outputs(tmp_path, "http.yaml", "-i", f"base={base}", "-i", "put=true")
        seen = server.seen
    assert result == {"celsius": 11.5, "stored": 201}
    assert [(verb, path) for verb, path, _, _ in seen] == [
        ("GET", "/weather.json?city=k%C3%B6ln"),
        ("GET", "/weather.json?city=k%C3%B6ln"),
        ("PUT", "/readings/k%C3%B6ln"),
        ("PUT", "/readings/k%C3%B6ln"),
    ]
    keys = [key for verb, _, key, _ in seen if verb == "PUT"]
    assert keys[0]
    assert [body for _, _, _, body in seen[2:]] == [{"celsius": 11.5}] * 2


def test_openai(tmp_path: Path) -> None:
    review = "Good lamp, bad box."
    script = [
        {"when": {"contains": "You judge"}, "content": [text('{"mood": "mixed", "why": "the box"}')], "bare": True},
        {"content": [tool_use("c", "count", text="Thank you")], "bare": True},
        {"when": {"results": 1, "contains": "2\\\\n"}, "content": [text("Thank you.")], "bare": True},
    ]
    with OpenAIServer(script) as server:
        result = outputs(tmp_path, "openai.yaml", "-i", f"base={server.url}/v1", "-i", f"text={review}")
        assert {call["path"] for call in server.calls} == {"/v1/chat/completions"}
        assert all("authorization" not in call["headers"] for call in server.calls)
    assert result == {"mood": "mixed", "answer": "Thank you."}


def test_models(tmp_path: Path) -> None:
    assert outputs(tmp_path, "models.yaml", "-i", 'words=["sea", "sun"]') == {"poem": "A line on sea. A line on sun."}
    assert (records(tmp_path, "started"), records(tmp_path, "failed")) == (4, 2)


def test_http_with_no_server(tmp_path: Path) -> None:
    result = outputs(tmp_path, "http.yaml", "-i", "base=http://127.0.0.1:1", code=1)
    assert result["error"]["step"] == "get"


def test_idempotent(tmp_path: Path) -> None:
    result = outputs(tmp_path, "idempotent.yaml")
    assert (tmp_path / ".orch" / "ledger").read_text() == f"{result['key']} 1350\n"
    assert (result["cents"], result["lines"]) == (1350, 1)


def killed(folder: Path, spec: str, *args: str, ledger: str, line: str) -> None:
    """Run that file, and kill the process with SIGKILL as soon as its ledger has that line."""
    env = ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    argv = [sys.executable, "-m", "orchestrator", "run", str(SPECS / spec), "--store", "sqlite:///runs.db", *args]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, cwd=folder, env=env, **quiet) as process:
        try:
            written = folder / ledger
            pause = threading.Event()
            while not (written.exists() and line in written.read_text()):
                assert process.poll() is None, "the run ended before its effect"
                pause.wait(0.02)
        finally:
            process.kill()


def test_idempotent_killed_in_its_effect(tmp_path: Path) -> None:
    killed(tmp_path, "idempotent.yaml", "-i", "seconds=1", ledger=".orch/ledger", line="\n")
    done = orch(tmp_path, "resume", "@last", "--store", "sqlite:///runs.db")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (tmp_path / ".orch" / "ledger").read_text() == f"{result['key']} 1350\n" * 2
    assert result["lines"] == 2


def test_doubt(tmp_path: Path) -> None:
    assert outputs(tmp_path, "doubt.yaml") == {"number": 1, "sent": "order 1"}


def test_doubt_asks_and_goes_on_with_what_it_is_told(tmp_path: Path) -> None:
    store = ("--store", "sqlite:///runs.db")
    killed(tmp_path, "doubt.yaml", "-i", "seconds=60", ledger=".orch/orders", line="order\n")
    waiting = orch(tmp_path, "resume", "@last", *store)
    assert waiting.returncode == 5, waiting.stderr
    assert "order" in waiting.stderr
    told = orch(tmp_path, "resolve", "@last", "order", "--result", '{"number": 7}', *store)
    assert told.returncode == 0, told.stderr
    done = orch(tmp_path, "resume", "@last", *store)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"number": 7, "sent": "order 7"}
    assert (tmp_path / ".orch" / "orders").read_text() == "order\nparcel order 7\n"


def test_doubt_is_settled_by_a_tool_that_can_tell(tmp_path: Path) -> None:
    killed(tmp_path, "doubt.yaml", "-i", "parcel_seconds=60", ledger=".orch/orders", line="parcel order 1\n")
    done = orch(tmp_path, "resume", "@last", "--store", "sqlite:///runs.db")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"number": 1, "sent": "order 1"}
    assert (tmp_path / ".orch" / "orders").read_text() == "order\nparcel order 1\n"


def test_scripts(tmp_path: Path) -> None:
    assert outputs(tmp_path, "scripts.yaml", "-i", "name=$(touch pwned); `touch pwned` & touch pwned") == {
        "greeting": "Hello, $(touch pwned); `touch pwned` & touch pwned!\n",
        "letters": len("$(touch pwned); `touch pwned` & touch pwned"),
        "lines": 1,
        "found": False,
    }
    assert (tmp_path / ".orch" / "scripts" / "greeting.txt").exists()
    assert list(tmp_path.rglob("pwned")) == []


def test_text(tmp_path: Path) -> None:
    assert outputs(tmp_path, "text.yaml", "-i", "warn=true")["prompt"] == "\n\n".join(
        (
            "Explain the facts below.",
            "Write for an engineer.",
            "Be careful.",
            "- water is wet (12)\n- ${ } and }} are text (20)",
            "A literal ${{ is written so.",
        )
    )


def test_text_leaves_no_gap_for_an_empty_part(tmp_path: Path) -> None:
    result = outputs(tmp_path, "text.yaml", "-i", "facts=[]", "-i", "reader=${{ inputs.warn }}")
    assert result["prompt"] == (
        "Explain the facts below.\n\nWrite for ${{ inputs.warn }}.\n\nA literal ${{ is written so."
    )


def test_fallback(tmp_path: Path) -> None:
    assert outputs(tmp_path, "fallback.yaml") == {
        "rate": 1.08,
        "source": "cache (tool_error in fetch)",
        "optional": "failed",
    }
    assert (tmp_path / ".orch" / "fallback.log").read_text() == "ended done\n"


def test_fallback_under_strict(tmp_path: Path) -> None:
    result = outputs(tmp_path, "fallback.yaml", "-i", "strict=true", code=1)
    assert result["error"]["code"] == "stale_rate"
    assert (tmp_path / ".orch" / "fallback.log").read_text() == "failed stale_rate\nended failed\n"


def test_agent_tools(tmp_path: Path) -> None:
    assert outputs(tmp_path, "agent_tools.yaml") == {"said": "The notes are in order."}
    assert (tmp_path / ".orch" / "notes" / "todo.md").read_text() == "- buy oat milk\n- call home\n"
    assert (tmp_path / ".orch" / "notes" / "done.md").exists()


def test_group(tmp_path: Path) -> None:
    assert outputs(tmp_path, "group.yaml") == {"letter": "Hello, WORLD!\n-- orch"}


def test_notes(tmp_path: Path) -> None:
    assert outputs(tmp_path, "notes.yaml") == {
        "said": "The oven is the slow part. It takes 12 minutes. Left: Weigh the flour, Set a timer."
    }


def test_board(tmp_path: Path) -> None:
    assert outputs(tmp_path, "board.yaml") == {"writers": ["ann", "bob"], "left": ["Check the dates"]}
    assert orch(tmp_path, "verify", "@last", "--store", "sqlite:///runs.db").returncode == 0


def test_memory(tmp_path: Path) -> None:
    assert outputs(tmp_path, "memory.yaml") == {"said": "I have learned something."}
    assert outputs(tmp_path, "memory.yaml") == {"said": "I know it from another run - Oslo has trams."}


def test_skills(tmp_path: Path) -> None:
    assert outputs(tmp_path, "skills.yaml") == {"said": "The skill has 7 lines. Resume says what has changed."}


def test_budget(tmp_path: Path) -> None:
    assert outputs(tmp_path, "budget.yaml", "--id", "one", code=6)["reason"] == "limit"
    begun = records(tmp_path, "started")
    assert orch(tmp_path, "budget", "one", "--add", "usd=0.10", "--store", "sqlite:///runs.db").returncode == 0
    assert json.loads(orch(tmp_path, "resume", "one", "--store", "sqlite:///runs.db").stdout) == {"reviews": 8}
    assert 0 < begun < 8 == records(tmp_path, "started")


def test_budget_finish(tmp_path: Path) -> None:
    assert outputs(tmp_path, "budget_finish.yaml") == {"answer": "What I have after 10 looks.", "strict": "limited"}


def test_every_spec_is_run_by_a_test() -> None:
    """A file that is only validated would not be an example that works."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [spec.name for spec in SPECS.glob("*.yaml") if f'"{spec.name}"' not in text] == []


def test_the_fixture_for_http_is_what_its_head_serves() -> None:
    assert json.loads((SPECS / "data" / "weather.json").read_text())["celsius"] == 11.5
    assert shutil.which("bash"), "the scripts of these pipelines need bash"


def test_long_conversation(tmp_path: Path) -> None:
    assert outputs(tmp_path, "long_conversation.yaml") == {"said": "read it all"}
    assert records(tmp_path, "compacted") == 1


def test_attachments(tmp_path: Path) -> None:
    data = SPECS / "data"
    given = ("-i", f"photo={data / 'pixel.png'}", "-i", f"notes={data / 'weather.json'}")
    assert outputs(tmp_path, "attachments.yaml", *given) == {"said": "I looked at pixel.png."}


def test_an_attachment_that_no_model_reads(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    result = outputs(tmp_path, "attachments.yaml", "-i", "photo=x.zip", code=1)
    assert "application/zip" in result["error"]["message"]


def test_hooks(tmp_path: Path) -> None:
    assert outputs(tmp_path, "hooks.yaml") == {"said": "Charge **** 1111 and"}
    assert not (tmp_path / ".orch" / "hooks" / "secret.md").exists()


def test_steering(tmp_path: Path) -> None:
    env = ENV | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "NO_PROXY": "*"}
    store = ("--store", "sqlite:///runs.db")
    command = [sys.executable, "-m", "orchestrator", "run", str(SPECS / "steering.yaml"), "--id", "s", *store]
    with subprocess.Popen(
        [*command, "--events", "-"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdout is not None
        events = iter(running.stdout)
        while '"watch/turn1/tool0"' not in next(events):
            pass
        said = orch(tmp_path, "send", "s", "answer in French", *store, "--json")
        assert json.loads(said.stdout) == {
            "format": "orch.status/1", "run": "s", "step": "watch", "status": "sent",
        }  # fmt: skip
        nobody = orch(tmp_path, "send", "s", "hello", "--step", "watched", *store)
        assert (nobody.returncode, "did you mean `watch`?" in nobody.stderr) == (3, True)
        while '"kind":"received"' not in next(events):
            pass
        (tmp_path / "build.done").touch()
        rest = "".join(events)
    assert running.returncode == 0
    assert "La construction est finie." in rest
    late = orch(tmp_path, "send", "s", "hello", *store)
    assert (late.returncode, "no agent is at work" in late.stderr) == (3, True)


def test_approval(tmp_path: Path) -> None:
    waits = outputs(tmp_path, "approval.yaml", code=5)
    assert [(wait["step"], wait["args"]) for wait in waits["waits"]] == [
        ("settle/turn1/tool1", {"account": "bob", "cents": 250_000})
    ]
    answered = orch(tmp_path, "answer", waits["run"], "--choice", "approve", "--store", "sqlite:///runs.db")
    assert answered.returncode == 0, answered.stderr
    done = orch(tmp_path, "resume", waits["run"], "--store", "sqlite:///runs.db")
    said = json.loads(done.stdout)["said"]
    assert "ann got 500 cents" in said
    assert "bob got 250000 cents" in said
    assert "denied by the rule `refund(account: internal/*)`" in said
    said = outputs(tmp_path, "approval.yaml", "--approve", "never")["said"]
    assert "ann got 500 cents" in said
    assert "this run asks nobody" in said


def test_guarded(tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("a canary that sings")
    found = outputs(tmp_path, "guarded.yaml")
    assert found["walked"] == "done"
    assert found["look"] == {"network": "none", "files": "none" if why_none() is None else "seen"}
