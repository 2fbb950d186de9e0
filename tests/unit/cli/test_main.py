from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.main import load_verb, main
from orchestrator.cli.verbs import PLANNED, VERBS

if TYPE_CHECKING:
    from pathlib import Path

ONE = """\
version: 1
inputs:
  who: {type: string, default: world}
  times: {type: integer, default: 1, minimum: 1}
steps:
  greet: {run: echo "hello $1 $2", args: ["${{ inputs.who }}", "${{ inputs.times }}"]}
"""
BROKEN = """\
version: 1
steps:
  fetch: {run: "true", timout: 30s}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, with nothing of this machine's user."""
    for name in ("ORCH_STORE", "GITHUB_ACTIONS", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text(ONE)
    (tmp_path / "broken.yaml").write_text(BROKEN)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["lst"], 2, "did you mean `orch list`?"),
        (["fork", "x"], 2, "not available yet"),
        (["run"], 2, "Missing argument"),
        (["run", "none.yaml"], 2, "there is no file"),
        (["run", "one.yaml", "--detach"], 2, "not available yet"),
        (["run", "one.yaml", "--max-usd", "no"], 2, "no amount of usd"),
        (["run", "one.yaml", "--id", "no spaces"], 2, "is no run id"),
        (["run", "one.yaml", "--stay", "60"], 2, "not a duration"),
        (["run", "one.yaml", "-i", "times=0", "-i", "woh=x"], 2, "did you mean `who`?"),
        (["run", "one.yaml", "--store", "oracle://x"], 2, "names no store"),
        (["run", "broken.yaml"], 2, "did you mean `timeout`?"),
        (["run", "one.yaml", "--model", "default"], 2, "expected name=value"),
        (["list", "--color", "pink"], 2, "expected auto, always or never"),
        (["list", "--nope"], 2, "No such option"),
        (["list", "--since", "99999999999d"], 2, "error[E001]: --since does not take '99999999999d'"),
        (["list", "--limit", "99999999999999999999"], 2, "error[E001]: --limit does not take"),
        (["-C", "nowhere", "list"], 2, "-C does not take"),
        (["show", "@last"], 3, "there is no run"),
        (["show", "../etc"], 2, "is no run id"),
        (["schema", "--of", "x"], 2, "expected one of"),
        (["graph", "broken.yaml"], 2, "did you mean `timeout`?"),
        (["init", "--template", "x"], 2, "expected one of"),
        (["resolve", "x", "y"], 2, "exactly one"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_mistakes_have_a_code_a_sentence_and_a_way_on(
    args: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = main(args)
    said = capsys.readouterr().err
    assert (found, says in said) == (code, True), said
    assert "Traceback" not in said


@pytest.mark.parametrize("verb", PLANNED)
def test_what_is_planned_says_so(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "x"]) == 2
    assert f"`orch {verb}` is not available yet" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_takes_the_global_flags(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: orch {verb} ")
    for flag in ("--store", "--json", "--quiet", "--verbose", "--color", "--yes", "--debug", "-C", "--version"):
        assert flag in text
    assert load_verb(verb).name == verb


@pytest.mark.parametrize("name", ["ORCH_JSON", "ORCH_QUIET", "ORCH_VERBOSE", "ORCH_YES", "ORCH_DEBUG", "ORCH_COLOR"])
def test_a_variable_that_does_not_fit(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "perhaps")
    assert main(["schema"]) == 2
    assert name in capsys.readouterr().err


def test_annotations_in_a_github_job(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(["graph", str(folder / "broken.yaml")]) == 2
    assert "::error file=" in capsys.readouterr().err
    assert main(["show", "x%0A::warning::y"]) == 2
    assert "\n::warning" not in capsys.readouterr().err
