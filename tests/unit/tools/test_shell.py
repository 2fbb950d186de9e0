from __future__ import annotations

import itertools
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from orchestrator.jsonish import dumps
from orchestrator.tools.policy import KEPT
from orchestrator.tools.protocol import Done, Failed, secret_marker
from orchestrator.tools.shell import PASSED, perform

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.tools.protocol import Outcome

pytestmark = pytest.mark.anyio
PROVE = os.environ.get("ORCH_PROVE") == "1"


def done(outcome: Outcome) -> Any:
    assert isinstance(outcome, Done), outcome
    return outcome.output


def bad(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


async def test_a_program_gives_exit_stdout_and_stderr(context: Any) -> None:
    end = await perform({"argv": ["sh", "-c", "printf 'a\\nb'; printf 'é\\377\\000' >&2"]}, context)
    assert done(end) == {"exit": 0, "stdout": "a\nb", "stderr": "é\ufffd\ufffd"}


async def test_arguments_become_text(context: Any) -> None:
    words = ["a b", "é☃", 1, True, None, [1, "x"], {"k": "v"}, "", "*", "$HOME"]
    end = await perform({"script": 'printf "<%s>" "$@"', "args": words}, context)
    assert done(end)["stdout"] == '<a b><é☃><1><true><><[1,"x"]><{"k":"v"}><><*><$HOME>'


async def test_stdin_is_text_or_json_and_empty_without(context: Any) -> None:
    assert done(await perform({"argv": ["cat"], "stdin": "a\nb"}, context))["stdout"] == "a\nb"
    assert done(await perform({"argv": ["cat"], "stdin": {"b": [1]}}, context))["stdout"] == '{"b":[1]}'
    assert done(await perform({"argv": ["cat"]}, context))["stdout"] == ""


async def test_a_program_that_does_not_read_its_stdin_is_no_failure(context: Any) -> None:
    assert done(await perform({"argv": ["true"], "stdin": "x" * 3_000_000}, context))["exit"] == 0


async def test_the_environment_of_a_child_is_the_list_exactly(contexts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts.secrets["TOKEN"] = "hunter2-token"
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONPATH", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "leak")
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("TZ", "UTC")
    request = {"argv": ["cat", "/proc/self/environ"], "env": {"A": [1], "T": secret_marker("TOKEN"), "HOME": None}}
    shown = done(await perform(request, contexts(key="the-key")))["stdout"].split("\ufffd")
    expected = {"A=[1]", "T=***TOKEN***", "ORCH_IDEMPOTENCY_KEY=the-key", "TZ=UTC", f"PATH={os.environ['PATH']}"}
    assert set(shown) == {*expected, ""}
    assert set(PASSED) == {"PATH", "HOME", "LANG", "TZ", "TMPDIR"}


async def test_variables_may_be_passed_on_by_name(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSED_ON", "x")
    request = {"script": "echo $PASSED_ON ${LEFT_OUT-none}", "env_names": ["PASSED_ON", "LEFT_OUT"]}
    assert done(await perform(request, context))["stdout"] == "x none\n"


async def test_variables_of_the_program_do_not_touch_its_guard(context: Any) -> None:
    env = {"LD_PRELOAD": "/none/such.so", "PYTHONHOME": "/none", "PYTHONSTARTUP": "/none", "LC_ALL": "xx_YY"}
    end = done(await perform({"argv": ["sh", "-c", 'echo "$PYTHONHOME"'], "env": env}, context))
    assert end["stdout"] == "/none\n"
    assert "python" not in end["stderr"]


@pytest.mark.parametrize("name", ["../abc", "/etc/passwd", "..", "", None])
async def test_an_object_that_only_looks_like_a_file_is_json(context: Any, name: Any) -> None:
    shown = done(await perform({"argv": ["printf", "%s", {"$file": name}]}, context))["stdout"]
    assert json.loads(shown) == {"$file": name}


async def test_a_stored_file_is_the_path_of_its_copy(contexts: Any) -> None:
    file = {"$file": "abc", "name": "a.txt", "size": 2, "media_type": "text/plain"}
    (contexts.folder / "abc").write_text("hi")
    request = {"script": 'cat "$1" "$F"; cat', "args": [file], "env": {"F": file}, "stdin": file}
    assert done(await perform(request, contexts()))["stdout"] == f"hihi{contexts.folder}/abc"


async def test_a_child_has_three_descriptors_and_a_session_of_its_own(context: Any) -> None:
    script = "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1], os.getsid(0) == os.getpid())"
    shown = done(await perform({"argv": [sys.executable, "-I", "-c", script]}, context))["stdout"]
    assert shown == "['0', '1', '2'] True\n"


async def test_signals_are_as_a_shell_expects_them(context: Any) -> None:
    shown = done(await perform({"script": "yes | head -1; (kill -PIPE $BASHPID) || echo $?", "shell": "sh"}, context))
    assert shown["stdout"].startswith("y\n")
    ignored = done(await perform({"argv": ["grep", "SigIgn", "/proc/self/status"]}, context))["stdout"]
    # 32 and 33 are the C library's own: it leaves them ignored in what it spawns, make's children among them.
    assert int(ignored.split()[1], 16) & ~(0b11 << 31) == 0


async def test_an_exit_that_is_not_expected_fails_with_what_was_said(context: Any) -> None:
    end = bad(await perform({"script": "echo out; echo why >&2; exit 7"}, context))
    assert (end.code, end.no_effect) == ("tool_error", False)
    assert end.message == "exit 7: why"
    assert end.detail == {"exit": 7, "stdout": "out\n", "stderr": "why\n"}
    assert done(await perform({"script": "exit 7", "expect": [0, 7]}, context))["exit"] == 7
    assert bad(await perform({"script": "kill -9 $$"}, context)).detail["exit"] == 137


async def test_bash_stops_at_the_first_error_of_a_pipe(context: Any) -> None:
    assert bad(await perform({"script": "false | cat\necho on"}, context)).detail["stdout"] == ""


@pytest.mark.parametrize("shell", ["bash", "sh", "python3", ["bash", "{0}"], ["cat"]])
async def test_the_script_is_a_file_for_its_shell(context: Any, shell: Any) -> None:
    script = "print('#')" if shell == "python3" else "echo '#'"
    shown = done(await perform({"script": script, "shell": shell}, context))["stdout"]
    assert "#" in shown


async def test_a_script_leaves_no_file(context: Any) -> None:
    path = done(await perform({"script": 'printf %s "$0"'}, context))["stdout"]
    assert path.endswith("/script")
    assert not await anyio.Path(path).parent.exists()


@pytest.mark.parametrize("shell", ["bash", "sh", "python3"])
async def test_a_launcher_stands_before_the_command(context: Any, shell: str) -> None:
    script = "import sys; print(sys.argv[1:])" if shell == "python3" else 'echo "$0" "$@"'
    request = {"script": script, "shell": shell, "args": ["$(x)", "b c"], "launcher": ["env", "-u", "HOME"]}
    shown = done(await perform(request, context))["stdout"]
    assert "$(x)" in shown
    assert "b c" in shown


@pytest.mark.parametrize(
    "argv", [[], ["nonesuch-program"], ["./none"], ["/etc/passwd"], ["a\0b"], ["true", "x" * 300_000]]
)
async def test_what_cannot_be_started_had_no_effect(context: Any, argv: list[str]) -> None:
    end = bad(await perform({"argv": argv}, context))
    assert end.no_effect
    assert end.code == "tool_error"


async def test_a_missing_folder_is_made_and_an_impossible_one_is_no_effect(context: Any, tmp_path: Path) -> None:
    assert done(await perform({"argv": ["pwd"], "folder": str(tmp_path / "a/b")}, context))["stdout"].endswith("/a/b\n")
    (tmp_path / "file").touch()
    assert bad(await perform({"argv": ["pwd"], "folder": str(tmp_path / "file/x")}, context)).no_effect


async def test_json_output_is_one_document(context: Any) -> None:
    assert done(await perform({"script": "echo '[1, {\"a\": null}]'", "json": True}, context)) == [1, {"a": None}]
    for script in ("echo '[1] [2]'", "echo", "echo NaN", "printf '\\377'", "head -c 100000 /dev/zero | tr '\\0' '['"):
        assert bad(await perform({"script": script, "json": True}, context)).code == "invalid_output"


async def test_files_are_kept(context: Any) -> None:
    end = await perform({"script": "mkdir d; printf x,y > d/a.csv", "files": {"table": "d/a.csv"}}, context)
    assert isinstance(end, Done)
    kept = end.files["table"]
    assert (kept.name, kept.body, kept.media_type) == ("a.csv", b"x,y", "text/csv")


async def test_files_that_are_missing_or_hold_a_secret_are_not_kept(contexts: Any) -> None:
    contexts.secrets["TOKEN"] = "hunter2-token"
    assert "No such file" in bad(await perform({"script": ":", "files": {"a": "none"}}, contexts())).message
    assert "no regular file" in bad(await perform({"script": "mkfifo p", "files": {"a": "p"}}, contexts())).message
    request = {"script": 'printf "a $T b" > f', "env": {"T": secret_marker("TOKEN")}, "files": {"a": "f"}}
    end = bad(await perform(request, contexts()))
    assert "secret" in end.message
    assert "hunter2" not in repr(end)


async def test_large_outputs_are_bounded_and_kept_beside(context: Any) -> None:
    end = await perform({"script": f"head -c {KEPT + 100_000} /dev/zero | tr '\\0' x; echo e >&2"}, context)
    assert isinstance(end, Done)
    assert len(dumps(end.output)) <= 65_536
    assert end.output["stderr"] == "e\n"
    assert end.overflow is not None
    assert len(end.overflow) == KEPT


async def test_secrets_do_not_come_back(contexts: Any) -> None:
    contexts.secrets["TOKEN"] = "hunter2-token+/="
    script = (
        'echo "$T"; printf %s "$T" | base64; printf %s "$T" >&2; printf %s "$T" | od -An -tx1 | tr -d " \\n"; exit $1'
    )
    for code in (0, 3):
        end = await perform({"script": script, "args": [code], "env": {"T": secret_marker("TOKEN")}}, contexts())
        for form in ("hunter2", "aHVudGVyMi", "68756e74657232"):
            assert form not in repr(end)
        assert "***TOKEN***" in repr(end)


async def test_lines_are_shown_while_they_come_redacted(contexts: Any) -> None:
    contexts.secrets["TOKEN"] = "hunter2-token"
    shown: list[str] = []
    script = 'echo one; printf "$T"; echo; printf two'
    await perform({"script": script, "env": {"T": secret_marker("TOKEN")}}, contexts(emit=shown.append))
    assert "".join(shown) == "one\n***TOKEN***\n"


async def test_rlimits_hold(context: Any) -> None:
    shown = done(await perform({"script": "ulimit -n; ulimit -c", "rlimits": {"nofile": 77, "core": 0}}, context))
    assert shown["stdout"] == "77\n0\n"
    end = bad(await perform({"script": "head -c 100 /dev/zero > f", "rlimits": {"fsize": 10, "cpu": 9}}, context))
    assert end.detail["exit"] == 153


TEMPLATES = [
    "; touch {}",
    "&& touch {}",
    "| touch {}",
    "|| touch {}",
    "& touch {} &",
    "\ntouch {}\n",
    "`touch {}`",
    "$(touch {})",
    "$(<{})`touch {}`",
    "'; touch {} #",
    '"; touch {} #',
    "'$(touch {})'",
    '"$(touch {})"',
    '\\"; touch {} #',
    "${{IFS}};touch${{IFS}}{}",
    "$((a[$(touch {})]))",
    "a[$(touch {})]",
    "<(touch {})",
    ">{}",
    "2>{}",
    ">>{} #",
    "{{touch,{}}}",
    "$'\\x60touch {}\\x60'",
    "() {{ :; }}; touch {}",
    "-c 'touch {}'",
    "--init-file={}",
    "-e touch {}",
    "\\$(touch {})",
    "!touch {}",
    "*; touch {}",
    "__import__('os').system('touch {}')",
    "');open('{}','w');('",
    '"""\nopen("{}","w")\n"""',
    "\rtouch {}",
    "\x1b]0;touch {}\x07",
    "EOF\ntouch {}\nEOF",
    "$(printf '\\x74ouch {}')",
    "%0atouch {}",
    "${{PATH:+$(touch {})}}",
    "~+/$(touch {})",
    "$[$(touch {})]",
]
DRESSED = ["{}", "x{}", "'{}'", '"{}"', "a b {} c"]
PAYLOADS = [outer.format(inner.format(*["CANARY"] * 3)) for inner, outer in itertools.product(TEMPLATES, DRESSED)]

ECHO = {
    "bash": 'for value in "$@"; do printf "%s\\n%s\\n" "$value" ---; done; printf "%s\\n" "$VALUE"; cat',
    "sh": 'for value in "$@"; do printf "%s\\n%s\\n" "$value" ---; done; printf "%s\\n" "$VALUE"; cat',
    "python3": "import os, sys\nfor v in sys.argv[1:]: sys.stdout.write(v + '\\n---\\n')\n"
    "sys.stdout.write(os.environ['VALUE'] + '\\n' + sys.stdin.read())",
}


def test_there_are_two_hundred_payloads() -> None:
    assert len(set(PAYLOADS)) >= 200


@pytest.mark.timeout(300 if PROVE else 30)
@pytest.mark.parametrize("launcher", [[], ["env"]])
@pytest.mark.parametrize("shell", ECHO)
async def test_no_value_becomes_code(contexts: Any, shell: str, launcher: list[str]) -> None:
    """All values at once in the quick run, each by itself in the long one."""
    for values in [[payload] for payload in PAYLOADS] if PROVE else [PAYLOADS]:
        text = "\n".join(values)
        request = {"script": ECHO[shell], "shell": shell, "args": values, "stdin": text, "launcher": launcher}
        shown = done(await perform({**request, "env": {"VALUE": text}}, contexts(max_output=1 << 20)))["stdout"]
        expected = "".join(f"{value}\n---\n" for value in values) + f"{text}\n{text}"
        if shell == "python3":
            shown, expected = shown.replace("\r", "\n"), expected.replace("\r", "\n")
        assert shown == expected
        assert not list(contexts.folder.iterdir())


async def test_no_value_of_argv_becomes_code(contexts: Any) -> None:
    shown = done(await perform({"argv": ["printf", "%s\n", *PAYLOADS]}, contexts(max_output=1 << 20)))["stdout"]
    assert shown == "".join(f"{value}\n" for value in PAYLOADS)
    assert not list(contexts.folder.iterdir())


async def test_parallel_calls_do_not_disturb_each_other(context: Any) -> None:
    found: dict[int, str] = {}

    async def one(number: int) -> None:
        found[number] = done(await perform({"script": "cat; echo $1", "args": [number], "stdin": "i"}, context))[
            "stdout"
        ]

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(one, number)
    assert found == {number: f"i{number}\n" for number in range(12)}
