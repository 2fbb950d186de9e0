"""The command line as a process: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ENV = {key: os.environ[key] for key in ("PATH", "LANG", "TZ", "TMPDIR") if key in os.environ}
STORE = "sqlite:///runs.db"

ONE = """\
version: 1
name: one
inputs:
  who: {type: string, default: world}
  times: {type: integer, default: 1, minimum: 1}
steps:
  greet:
    run: echo "hello $1"
    args: ["${{ inputs.who }}"]
outputs:
  said: ${{ steps.greet.output.stdout }}
"""

FAILS = """\
version: 1
name: fails
steps:
  bad: {run: "echo oops >&2; exit 3"}
"""

SLOW = """\
version: 1
name: slow
steps:
  first: {run: "echo one"}
  wait:
    needs: [first]
    run: "touch started; for i in $(seq 600); do test -e stop && break; sleep 0.05; done; echo done"
    effect: EFFECT
outputs:
  wait: ${{ steps.wait.output.stdout }}
"""

BROKEN = """\
version: 1
name: broken
steps:
  fetch:
    run: "true"
    timout: 30s
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.yaml").write_text(ONE)
    (tmp_path / "fails.yaml").write_text(FAILS)
    (tmp_path / "broken.yaml").write_text(BROKEN)
    return tmp_path


def environment(folder: Path, **variables: str) -> dict[str, str]:
    return ENV | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")} | variables


def orch(folder: Path, *args: str, stdin: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *args],
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        input=stdin if stdin is not None else "",
        timeout=60,
    )


def document(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    """The one JSON document on standard output."""
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def until(folder: Path, name: str) -> None:
    """Wait for a file that a step makes."""
    for _ in range(600):
        if (folder / name).exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} never came")


# --- what goes where ---


def test_outputs_go_to_stdout_and_the_rest_to_stderr(folder: Path) -> None:
    done = orch(folder, "run", "one.yaml", "--store", STORE, "-i", "who=you")
    assert document(done) == {"said": "hello you\n"}
    assert "greet" in done.stderr
    assert "done" in done.stderr
    assert "$0.00" in done.stderr
    assert "\x1b" not in done.stderr


def test_quiet_says_nothing_where_all_is_well(folder: Path) -> None:
    done = orch(folder, "-q", "run", "one.yaml", "--store", STORE)
    assert document(done) == {"said": "hello world\n"}
    assert done.stderr == ""


def test_a_failed_run_prints_its_error(folder: Path) -> None:
    done = orch(folder, "run", "fails.yaml", "--store", STORE)
    error = document(done, 1)["error"]
    assert (error["code"], error["step"]) == ("tool_error", "bad")
    assert set(error) == {"code", "message", "detail", "step"}
    assert "next: orch show" in done.stderr


def test_an_error_before_the_run_is_json_for_those_who_asked(folder: Path) -> None:
    done = orch(folder, "show", "nothing", "--store", STORE, "--json")
    assert document(done, 9)["error"]["code"] == "E906"


def test_a_run_that_cannot_start_says_so_to_programs(folder: Path) -> None:
    error = document(orch(folder, "run", "broken.yaml"), 2)["error"]
    assert error["detail"]["diagnostics"][0]["code"] == "E104"
    assert document(orch(folder, "resume", "nothing"), 3)["error"]["code"] == "E301"
    assert orch(folder, "show", "nothing").stdout == ""


def test_a_reader_that_goes_away_is_no_bug(folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m orchestrator schema | head -c 1"],
        cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "{"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("orch list >&-", 2),
        ("orch list 2>&- >&-", 2),
        ("orch --help >&-", 2),
        ("orch run one.yaml >&-", 2),
        ("orch run one.yaml --json >&-", 2),
        ("orch run - <&-", 2),
        ("orch list > /dev/full", 2),
        ("orch --help > /dev/full", 2),
        ("orch run one.yaml 2> /dev/full", 0),
        ("mkdir gone; cd gone; rmdir ../gone; orch list", 2),
        ("mkdir gone; cd gone; rmdir ../gone; orch list -C ..", 0),
        ("orch validate /dev/zero", 1),
        ("orch show $'\\xff'", 2),
        ("orch run one.yaml -i $'who=\\xff'", 0),
    ],
)
def test_streams_and_folders_that_are_not_what_they_should_be(folder: Path, command: str, code: int) -> None:
    shell = f'orch() {{ {sys.executable} -m orchestrator "$@"; }}; {command}'
    done = subprocess.run(
        ["bash", "-c", shell], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "E999" not in done.stderr
    assert "Traceback" not in done.stderr


def test_outputs_that_nobody_could_read_are_printed_again(folder: Path) -> None:
    shell = f"{sys.executable} -m orchestrator"
    for command, again in ((f"{shell} list > /dev/full", False), (f"{shell} run one.yaml >&-", True)):
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60
        )
        assert "E008" in done.stderr
        assert ("orch resume RUN" in done.stderr) is again
    assert document(orch(folder, "resume", "@last")) == {"said": "hello world\n"}


def test_one_bad_file_of_a_folder_hides_no_other(folder: Path) -> None:
    assert "orch export RUN" in orch(folder, "verify", ".").stderr
    document(orch(folder, "run", "one.yaml", "--id", "good"))
    (folder / "b.jsonl").write_text(orch(folder, "export", "good").stdout)
    (folder / "a.jsonl").write_text("{}")
    done = orch(folder, "verify", ".")
    assert done.returncode == 7
    assert [one["run"] for one in json.loads(done.stdout)["runs"]] == [None, "good"]
    assert "a.jsonl is no export of a run" in done.stderr
    assert "sound" in done.stderr


SCHEMA_OF = {
    "list": ["list"],
    "show": ["show", "x", "--io", "--cost", "--records"],
    "logs": ["logs", "x"],
    "validate": ["validate", "broken.yaml"],
    "graph": ["graph", "one.yaml"],
    "verify": ["verify", "x"],
    "plan": ["run", "one.yaml", "--plan"],
    "events": ["run", "one.yaml", "--events", "-"],
    "run": ["run", "fails.yaml"],
    "db": ["db", "check"],
    "init": ["init", "new"],
    "doctor": ["doctor"],
    "status": ["cancel", "x"],
    "error": ["show", "y", "--json"],
}


def test_what_is_printed_fits_the_published_schemas(folder: Path) -> None:
    import jsonschema_rs

    definitions = json.loads(orch(folder, "schema", "--of", "cli").stdout)["$defs"]
    record = jsonschema_rs.Draft202012Validator(json.loads(orch(folder, "schema", "--of", "records").stdout))
    assert orch(folder, "run", "one.yaml", "--id", "x").returncode == 0
    for line in orch(folder, "export", "x").stdout.splitlines():
        record.validate(json.loads(line))
    for name, args in SCHEMA_OF.items():
        validator = jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})
        lines = orch(folder, *args).stdout.splitlines()
        assert lines, name
        for line in lines:
            validator.validate(json.loads(line))


def test_what_a_step_prints_is_no_data(folder: Path) -> None:
    (folder / "mod.py").write_text("def f() -> int:\n    print('noise \\x1b[2J')\n    return 1\n")
    (folder / "print.yaml").write_text(
        "version: 1\nsteps:\n  a: {python: 'mod:f'}\noutputs: {a: '${{ steps.a.output }}'}\n"
    )
    done = orch(folder, "run", "print.yaml", "--store", STORE)
    assert document(done) == {"a": 1}
    assert "noise" in done.stderr
    assert "\x1b" not in done.stderr


# --- flags ---


def test_global_flags_stand_before_or_after_the_verb(folder: Path) -> None:
    for args in (("--store", STORE, "--json", "db", "init"), ("db", "init", "--store", STORE, "--json")):
        assert document(orch(folder, *args))["store"].endswith("runs.db")


def test_a_folder_to_work_in(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "one.yaml").write_text(ONE)
    assert document(orch(folder, "-C", "sub", "run", "one.yaml")) == {"said": "hello world\n"}
    assert (folder / "sub" / ".orch" / "runs.db").exists()
    assert [run["name"] for run in document(orch(folder, "list", "-C", "sub"))["runs"]] == ["one"]


def test_help_lists_what_is_performed(folder: Path) -> None:
    text = orch(folder, "--help").stdout
    for verb in ("run", "resume", "validate", "list", "show", "logs", "graph", "schema", "export", "verify", "cancel"):
        assert f"\n  {verb} " in text
    assert "fork" not in text
    assert "\n  init " in text


def test_a_bug_leaves_a_report_and_no_traceback(folder: Path) -> None:
    script = (
        "import orchestrator.cli.list_ as verb\n"
        "def broken(*a, **k): raise RuntimeError('the innards')\n"
        "verb._filter = broken\n"
        "import sys; from orchestrator.cli.main import main; sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, "list"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60)
    assert done.returncode == 70
    assert "Traceback" not in done.stderr
    (report,) = (folder / "state" / "orch" / "reports").iterdir()
    assert str(report) in done.stderr
    assert "the innards" in report.read_text()
    again = subprocess.run(
        [*command, "--debug"], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60
    )
    assert "Traceback" in again.stderr


# --- inputs and secrets ---


def test_inputs_from_a_file_and_from_stdin(folder: Path) -> None:
    (folder / "in.json").write_text('{"who": "file"}')
    assert document(orch(folder, "run", "one.yaml", "--store", STORE, "--inputs", "in.json"))["said"] == "hello file\n"
    done = orch(folder, "run", "one.yaml", "--store", STORE, "--inputs", "-", stdin='{"who": "stdin"}')
    assert document(done)["said"] == "hello stdin\n"


def test_a_pipeline_from_stdin(folder: Path) -> None:
    assert document(orch(folder, "run", "-", "--store", STORE, stdin=ONE))["said"] == "hello world\n"


def test_a_missing_secret_is_exit_4_before_anything_starts(folder: Path) -> None:
    (folder / "secret.yaml").write_text(
        "version: 1\nsecrets: [API_TOKEN]\nsteps:\n  a:\n    run: echo $T\n    env: {T: '${{ secrets.API_TOKEN }}'}\n"
        "outputs: {said: '${{ steps.a.output.stdout }}'}\n"
    )
    done = orch(folder, "run", "secret.yaml", "--store", STORE)
    assert done.returncode == 4
    assert "API_TOKEN" in done.stderr
    assert not (folder / "runs.db").exists()
    (folder / "token").write_text("canary-5f2d\n")
    done = orch(folder, "run", "secret.yaml", "--store", STORE, "-vv", API_TOKEN_FILE=str(folder / "token"))
    assert document(done) == {"said": "***API_TOKEN***\n"}
    assert "canary" not in done.stderr
    assert b"canary" not in (folder / "runs.db").read_bytes()


# --- finding runs ---


def test_a_run_is_found_from_any_folder_by_its_note(folder: Path, tmp_path: Path) -> None:
    own = folder / "own"
    own.mkdir()
    (own / "p.yaml").write_text(ONE.replace("name: one", "name: one\nstore: sqlite:///own.db"))
    done = orch(folder, "run", "own/p.yaml", "--id", "mine")
    assert done.returncode == 0, done.stderr
    assert (own / "own.db").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = subprocess.run(
        [sys.executable, "-m", "orchestrator", "show", "min"],
        cwd=elsewhere, env=environment(folder), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert document(found)["run"]["id"] == "mine"


def test_references(folder: Path) -> None:
    for name in ("aa-1", "aa-2", "b"):
        assert orch(folder, "run", "one.yaml", "--store", STORE, "--id", name).returncode == 0

    def shown(reference: str) -> str:
        return document(orch(folder, "show", reference, "--store", STORE))["run"]["id"]

    assert (shown("@last"), shown("@-2"), shown("b"), shown("aa-1")) == ("b", "aa-2", "b", "aa-1")
    ambiguous = orch(folder, "show", "aa", "--store", STORE)
    assert ambiguous.returncode == 3
    assert "aa-1" in ambiguous.stderr
    assert orch(folder, "show", "@-9", "--store", STORE).returncode == 3


def test_an_id_twice_means_the_same_run_or_is_refused(folder: Path) -> None:
    first = orch(folder, "run", "one.yaml", "--store", STORE, "--id", "x")
    again = orch(folder, "run", "one.yaml", "--store", STORE, "--id", "x")
    assert document(first) == document(again)
    assert len(document(orch(folder, "list", "--store", STORE))["runs"]) == 1
    other = orch(folder, "run", "one.yaml", "--store", STORE, "--id", "x", "-i", "who=other")
    assert other.returncode == 2
    assert "inputs" in other.stderr
    assert orch(folder, "run", "fails.yaml", "--store", STORE, "--id", "x").returncode == 2


# --- looking at runs ---


def test_show_logs_export_and_verify_a_run(folder: Path) -> None:
    assert orch(folder, "run", "one.yaml", "--store", STORE, "--id", "x", "--label", "team=a").returncode == 0
    shown = document(orch(folder, "show", "x", "--store", STORE, "--io", "--records", "--cost"))
    assert shown["format"] == "orch.show/1"
    assert shown["run"]["status"] == "done"
    assert shown["inputs"] == {"who": "world", "times": 1}
    assert [step["path"] for step in shown["steps"]] == ["greet"]
    assert shown["steps"][0]["output"]["stdout"] == "hello world\n"
    assert shown["records"][0]["kind"] == "run_started"
    assert orch(folder, "show", "x", "--store", STORE, "--step", "nope").returncode == 3

    first, *lines = map(json.loads, orch(folder, "logs", "x", "--store", STORE, "--tail", "2").stdout.splitlines())
    assert first["format"] == "orch.logs/1"
    assert [line["kind"] for line in lines][-1] == "run_finished"

    exported = orch(folder, "export", "x", "--store", STORE)
    (folder / "x.jsonl").write_text(exported.stdout)
    assert json.loads(exported.stdout.splitlines()[0])["format"] == "orch.export/1"
    for what in ("x", "x.jsonl", "."):
        assert document(orch(folder, "verify", what, "--store", STORE))["ok"] is True
    (folder / "x.jsonl").write_text(exported.stdout.replace("hello world", "hello w0rld"))
    assert document(orch(folder, "verify", "x.jsonl"), 7)["ok"] is False
    redacted = orch(folder, "export", "x", "--store", STORE, "--redact").stdout
    assert "world" not in redacted
    assert "hello" not in redacted

    found = document(orch(folder, "list", "--store", STORE, "--label", "team=a", "--status", "done", "--since", "1h"))
    assert [run["id"] for run in found["runs"]] == ["x"]
    assert document(orch(folder, "list", "--store", STORE, "--label", "team=b"))["runs"] == []


def test_a_plan_runs_nothing(folder: Path) -> None:
    found = document(orch(folder, "run", "one.yaml", "--plan", "-i", "who=x"))
    assert found["format"] == "orch.plan/1"
    assert found["inputs"] == {"who": "x", "times": 1}
    assert [node["id"] for node in found["graph"]["nodes"]] == ["greet"]
    assert not (folder / ".orch").exists()


def test_events_as_they_happen(folder: Path) -> None:
    done = orch(folder, "run", "one.yaml", "--store", STORE, "--events", "-")
    first, *lines = map(json.loads, done.stdout.splitlines())
    assert first["format"] == "orch.events/1"
    assert lines[0]["kind"] == "run_started"
    assert lines[-1] == {
        "kind": "end", "status": "done", "reason": None, "outputs": {"said": "hello world\n"}, "error": None, "waits": [], "unread": [],
    }  # fmt: skip
    document(orch(folder, "run", "one.yaml", "--store", STORE, "--events", "events.jsonl"))
    assert len((folder / "events.jsonl").read_text().splitlines()) == len(lines) + 1


@pytest.mark.parametrize("form", ["tree", "mermaid", "dot", "json"])
def test_graphs(folder: Path, form: str) -> None:
    done = orch(folder, "graph", "one.yaml", "--format", form)
    assert done.returncode == 0, done.stderr
    assert "greet" in done.stdout


def test_the_graph_of_a_run_needs_no_file(folder: Path) -> None:
    assert orch(folder, "run", "one.yaml", "--id", "x").returncode == 0
    (folder / "one.yaml").unlink()
    assert [node["id"] for node in document(orch(folder, "graph", "x"))["nodes"]] == ["greet"]


# --- validate, init, db, doctor ---


def test_validate_formats_and_exits(folder: Path) -> None:
    text = orch(folder, "validate", "broken.yaml", "--format", "text")
    assert text.returncode == 1
    assert "error[E104]" in text.stdout
    assert "--> broken.yaml:6:5" in text.stdout
    piped = orch(folder, "validate", "broken.yaml", "one.yaml")
    assert document(piped, 1)["diagnostics"][0]["code"] == "E104"
    assert "error[E104]" in piped.stderr
    assert "2 files: 1 error" in piped.stderr
    assert orch(folder, "validate", "broken.yaml", GITHUB_ACTIONS="true").stdout.startswith("::error file=broken.yaml,")
    assert orch(folder, "validate", "one.yaml").returncode == 0
    assert orch(folder, "validate", "-", stdin=BROKEN).returncode == 1
    assert orch(folder, "validate", "nothing.yaml").returncode == 2


def test_validate_takes_a_folder_and_knows_what_is_imported(tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text(
        "version: 1\nmodels:\n  default: {provider: scripted, replies: [{text: hi}]}\n"
    )
    (tmp_path / "main.yaml").write_text(
        "version: 1\nimports: [./common.yaml]\nsteps:\n  a: {agent: {}, prompt: hello}\n"
    )
    done = orch(tmp_path, "validate", ".")
    assert done.returncode == 0, done.stderr
    assert "1 file: valid" in done.stderr


@pytest.mark.parametrize("template", ["scripted", "claude"])
def test_init_makes_what_is_valid_and_overwrites_nothing(tmp_path: Path, template: str) -> None:
    (tmp_path / ".gitignore").write_text("mine")
    done = orch(tmp_path, "init", ".", "--template", template)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".gitignore").read_text() == "mine\n.orch/\n"
    assert orch(tmp_path, "validate", "--strict", "pipeline.yaml").returncode == 0
    (tmp_path / "pipeline.yaml").write_text("# mine\n")
    again = document(orch(tmp_path, "init", "."))
    assert again["made"] == []
    assert (tmp_path / "pipeline.yaml").read_text() == "# mine\n"


def test_the_starter_runs(tmp_path: Path) -> None:
    assert orch(tmp_path, "init", "new").returncode == 0
    done = orch(tmp_path, "-C", "new", "run", "pipeline.yaml", "-i", "topic=tides")
    given = document(done)
    assert given["title"] == "tides"
    assert given["text"].splitlines()[0] == "A sentence on what it is, of tides."
    assert "scripted" in done.stderr


def test_db(folder: Path) -> None:
    assert orch(folder, "db", "check", "--store", STORE).returncode == 9
    assert document(orch(folder, "db", "init", "--store", STORE))["store"].endswith("runs.db")
    assert document(orch(folder, "db", "check", "--url", STORE))["problems"] == []
    assert "CREATE TABLE" in orch(folder, "db", "ddl").stdout
    (folder / "text.db").write_text("this is no database, whatever its name says\n" * 100)
    assert orch(folder, "db", "check", "--store", "sqlite:///text.db").returncode == 9
    assert orch(folder, "run", "one.yaml", "--store", "sqlite:///text.db").returncode == 9


def test_doctor_never_prints_a_key(folder: Path) -> None:
    done = orch(folder, "doctor", ANTHROPIC_API_KEY="canary-77aa")
    assert "canary" not in done.stdout + done.stderr
    checks = {check["name"]: check for check in document(done)["checks"]}
    assert checks["ANTHROPIC_API_KEY"]["detail"].startswith("set")
    assert {"orch", "python", "sqlite", "store", "sandbox"} <= set(checks)


def test_configuration_problems_stop_every_verb(folder: Path) -> None:
    (folder / "orch.toml").write_text('store = "sqlite:///a.db"\nlaese = "15s"\n')
    done = orch(folder, "list")
    assert done.returncode == 2
    assert "orch.toml:2:1" in done.stderr
    assert "did you mean `lease`?" in done.stderr


# --- stopping, taking over, settling ---


def begin(folder: Path, effect: str, *args: str) -> subprocess.Popen[str]:
    """Start a run, and give it back with its long step under way."""
    (folder / "slow.yaml").write_text(SLOW.replace("EFFECT", effect))
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", "slow.yaml", "--store", STORE, "--id", "slow", *args],
        cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(folder, "started")
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_and_a_second_one_at_once(folder: Path, number: signal.Signals, code: int) -> None:
    with begin(folder, "read") as process:
        process.send_signal(number)
        assert process.stderr is not None
        heard = next((line for line in process.stderr if "stopping" in line), "")
        assert heard == "stopping: waits for 1 step under way; again to end at once\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == code, err
    assert json.loads(out)["status"] == "stopped"
    assert "next: orch resume slow" in err


def test_a_live_run_is_held_and_can_be_followed(folder: Path) -> None:
    with begin(folder, "read") as process:
        held = orch(folder, "resume", "slow", "--store", STORE)
        assert held.returncode == 8, held.stderr
        assert str(process.pid) in held.stderr
        assert orch(folder, "list", "--store", STORE, "--status", "running").stdout.count('"slow"') == 2
        process.kill()


def test_an_id_of_a_live_run_attaches_to_it(folder: Path) -> None:
    with begin(folder, "read", "-q") as process:
        attached = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "run", "slow.yaml", "--store", STORE, "--id", "slow"],
            cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(0.5)
        (folder / "stop").touch()
        out, _ = process.communicate(timeout=20)
        also, err = attached.communicate(timeout=20)
    assert json.loads(out) == {"wait": "done\n"}
    assert json.loads(also) == json.loads(out), err
    assert (process.returncode, attached.returncode) == (0, 0)


def test_a_killed_read_runs_again_and_its_driver_is_told_to_cancel(folder: Path) -> None:
    with begin(folder, "read") as process:
        process.kill()
    (folder / "slow.yaml").unlink()
    (folder / "started").unlink()
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "resume", "slow", "--store", STORE],
        cwd=folder, env=environment(folder, ORCH_LEASE="1s"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        until(folder, "started")
        asked = orch(folder, "cancel", "slow", "--store", STORE, "--reason", "enough")
        out, err = process.communicate(timeout=20)
    assert document(asked)["status"] in ("cancelling", "cancelled")  # told, or already done
    assert process.returncode == 1, err
    assert json.loads(out)["error"]["code"] == "cancelled"
    assert "changed since it started" in err


def test_a_killed_write_is_in_doubt_until_someone_settles_it(folder: Path) -> None:
    with begin(folder, "write") as process:
        process.kill()
    doubt = orch(folder, "resume", "slow", "--store", STORE)
    assert doubt.returncode == 5, doubt.stderr
    assert "orch resolve slow wait" in doubt.stderr
    assert document(doubt, 5)["waits"][0]["step"] == "wait"
    assert orch(folder, "resolve", "slow", "first", "--retry", "--store", STORE).returncode == 3
    assert orch(folder, "resolve", "slow", "wait", "--result", "{", "--store", STORE).returncode == 2
    for bad, why in (
        ('{"id": 7}', "'id' was unexpected"),
        ('{"exit": "0", "stdout": "told", "stderr": ""}', "/exit"),
        ("[]", "is not of type"),
    ):
        refused = orch(folder, "resolve", "slow", "wait", "--result", bad, "--store", STORE)
        assert refused.returncode == 2
        assert "E307" in refused.stderr
        assert why in refused.stderr
        assert "`exit`, `stdout`, `stderr`" in refused.stderr
    result = '{"exit": 0, "stdout": "told", "stderr": ""}'
    assert (
        document(orch(folder, "resolve", "slow", "wait", "--result", result, "--store", STORE))["status"] == "resolved"
    )
    assert document(orch(folder, "resume", "slow", "--store", STORE)) == {"wait": "told"}
    assert document(orch(folder, "resume", "slow", "--store", STORE)) == {"wait": "told"}
    assert document(orch(folder, "verify", "slow", "--store", STORE))["ok"] is True


def test_cancel_ends_a_run_that_nobody_drives(folder: Path) -> None:
    with begin(folder, "write") as process:
        process.kill()
    done = orch(folder, "cancel", "slow", "--store", STORE, "--reason", "no more")
    assert document(done)["status"] == "cancelled"
    assert orch(folder, "resume", "slow", "--store", STORE).returncode == 1


def test_a_locked_store_speaks_of_a_run_only_where_there_is_one(folder: Path) -> None:
    store = f"{STORE}?timeout=0.1"
    with begin(folder, "read", "--store", store) as process:
        locked = sqlite3.connect(folder / "runs.db", isolation_level=None)
        locked.execute("BEGIN IMMEDIATE")
        fresh = orch(folder, "run", "one.yaml", "--store", store)
        listed = orch(folder, "list", "--store", store)
        (folder / "stop").touch()
        _, err = process.communicate(timeout=20)
        locked.close()
    assert [fresh.returncode, listed.returncode, process.returncode] == [9, 0, 9], fresh.stderr + err
    assert "then try again" in fresh.stderr
    assert "orch resume" not in fresh.stderr
    assert "`orch resume slow` goes on with the run" in err
