from __future__ import annotations

from typing import Any

import pytest

from orchestrator.spec.agents import AgentEntry, ScriptedReply
from orchestrator.spec.diagnostics import SpecErrors
from orchestrator.spec.fields import EachPart, FilePart, TextPart, parse_duration
from orchestrator.spec.model import key_of
from orchestrator.spec.read import Spec, read_spec
from orchestrator.spec.shape import MAX_SHOWN, models_of, owner
from orchestrator.spec.steps import AgentStep, GroupStep, MapStep, RunStep, SetStep, SwitchStep, WaitSignal, WaitStep
from orchestrator.spec.tools import HttpTool, PythonTool, Reconcile, ShellTool
from tests.unit.spec.corpus import VALID

EVERYTHING = read_spec(VALID / "every_key.yaml")


def steps(text: str) -> dict[str, Any]:
    return dict(read_spec(f"version: 1\nsteps:\n{text}".encode()).document.steps)


def codes(text: str) -> list[str]:
    with pytest.raises(SpecErrors) as caught:
        read_spec(text.encode())
    return [one.code for one in caught.value.diagnostics]


@pytest.mark.parametrize("path", sorted(VALID.glob("*.yaml")), ids=lambda path: path.stem)
def test_valid_files_have_no_problem_but_what_is_not_available(path: Any) -> None:
    assert {one.code for one in read_spec(path).diagnostics} <= {"E190"}


def test_every_model_knows_its_place() -> None:
    def at(data: Any, path: tuple[str | int, ...]) -> Any:
        for element in path:
            data = data[element]
        return data

    seen = list(models_of(EVERYTHING.document))
    assert len({model.at for model in seen}) == len(seen) > 100
    for model in seen:
        given = {key_of(name) for name in model.given}
        assert set(at(EVERYTHING.loaded.data, model.at)) == given


def test_a_model_that_stands_twice_has_two_places() -> None:
    read = steps("  a: &a {run: x}\n  b: *a\n")
    assert (read["a"].at, read["b"].at) == (("steps", "a"), ("steps", "b"))


def test_every_field_of_the_language_stands_in_the_file_that_has_all() -> None:
    seen: dict[type, set[str]] = {}
    for model in models_of(EVERYTHING.document):
        for kind in type(model).__mro__:
            seen.setdefault(kind, set()).update(model.given)
    missing = {
        f"{kind.__name__}.{name}"
        for kind in {type(model) for model in models_of(EVERYTHING.document)}
        for name in kind.known
        if not any(name in names for other, names in seen.items() if issubclass(kind, other))
    }
    assert missing <= {"Document.imports", "McpBody.url", "AskToolBody.choices", "AskBody.schema_", "FilePart.if_"}


def test_values_have_the_kinds_of_their_fields() -> None:
    document = EVERYTHING.document
    assert document.budget is not None
    assert document.budget.time == 30 * 60_000_000
    assert document.tools is not None
    assert isinstance(document.tools["fetch"], HttpTool)
    assert isinstance(document.tools["command"], ShellTool)
    assert isinstance(document.tools["fetch"].on_doubt, Reconcile)
    careful = document.steps["careful"]
    assert isinstance(careful, RunStep)
    assert careful.retry is not None
    assert (careful.timeout, careful.retry.delay, careful.retry.backoff) == (300_000_000, 1_000_000, 1.5)
    assert isinstance(careful.on_error, SetStep)
    each = document.steps["each"]
    assert isinstance(each, MapStep)
    assert (each.as_, each.max_items) == ("url", "${{ inputs.count }}")
    assert isinstance(each.do, AgentStep)
    group = document.steps["group"]
    assert isinstance(group, GroupStep)
    assert group.finally_ is not None
    pick = document.steps["pick"]
    assert isinstance(pick, SwitchStep)
    assert list(pick.cases) == ["a", "true", "200"]
    heard = document.steps["heard"]
    assert isinstance(heard, WaitStep)
    assert isinstance(heard.wait, WaitSignal)
    local = document.steps["local"]
    assert isinstance(local.tool, PythonTool)
    assert document.models is not None
    assert document.models["told"].replies is not None
    assert isinstance(document.models["told"].replies[2], ScriptedReply)


def test_parts_of_a_text_keep_their_kinds() -> None:
    assert EVERYTHING.document.agents is not None
    scout = EVERYTHING.document.agents["scout"]
    assert isinstance(scout, AgentEntry)
    parts = scout.instructions
    assert isinstance(parts, list)
    assert [type(part) for part in parts[:4]] == [str, TextPart, EachPart, FilePart]


def test_the_texts_that_a_file_names_are_read_once_and_hashed() -> None:
    path = ("agents", "scout", "instructions", 3, "file")
    loaded = EVERYTHING.loaded
    assert loaded.parts[path].startswith("# Brief")
    assert str(VALID / "texts/brief.md") in loaded.sources
    imported = read_spec(VALID / "imports.yaml").loaded
    assert imported.parts["agents", "reader", "instructions", 1, "file"].startswith("# Brief")
    assert str(VALID / "shared/common.yaml") in imported.sources


def test_models_are_frozen() -> None:
    with pytest.raises(AttributeError):
        EVERYTHING.document.version = 1


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("0s", 0),
        ("250ms", 250_000),
        ("1.5s", 1_500_000),
        ("90s", 90_000_000),
        ("1h30m", 5_400_000_000),
        ("2d3h4m5s6ms", 183_845_006_000),
        ("36500d", 3_153_600_000_000_000),
    ],
)
def test_durations_are_microseconds(text: str, microseconds: int) -> None:
    assert parse_duration(text) == microseconds


@pytest.mark.parametrize(
    "text", ["", " ", "5", "s", "5 s", "-5s", "5S", "1m1h", "5s5s", "1e3s", "٣s", ".5s", "9" * 200 + "s", "1w"]
)
def test_what_is_not_a_duration(text: str) -> None:
    assert codes(f"version: 1\nsteps: {{a: {{run: x, timeout: '{text}'}}}}") == ["E120"]


def test_durations_may_come_from_inputs() -> None:
    assert steps("  a: {run: x, timeout: '${{ inputs.t }}'}")["a"].timeout == "${{ inputs.t }}"


def test_no_field_takes_null_for_left_out() -> None:
    given = EVERYTHING.document.steps["careful"].given
    for name in sorted(given):
        field = name.removesuffix("_")
        if field not in ("output", "run"):
            assert codes(f"version: 1\nsteps:\n  a:\n    run: x\n    {field}:\n") in (["E106"], ["E120"])


def test_very_many_problems_are_counted() -> None:
    many = "version: 1\nsteps:\n" + "".join(f"  S{n}: {{run: x}}\n" for n in range(1500))
    with pytest.raises(SpecErrors) as caught:
        read_spec(many.encode())
    assert len(caught.value.diagnostics) == MAX_SHOWN
    assert caught.value.diagnostics[-1].hint == "and 500 problems more"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((), "the file"),
        (("budget",), "`budget`"),
        (("steps", "a"), "step `a`"),
        (("steps", "a", "retry"), "`retry` of step `a`"),
        (("steps", "a", "steps", "b", "do"), "`do` of step `b`"),
        (("agents", "x", "tools", 0), "`tools` of agent `x`"),
        (("steps", "a", "cases", "b"), "case `b`"),
        (("finally", "z"), "step `z`"),
    ],
)
def test_places_have_names(path: tuple[str | int, ...], words: str) -> None:
    assert owner(path) == words


def test_every_problem_of_a_file_is_said_at_once() -> None:
    text = "version: 2\nsteps:\n  a: {agent: {tols: []}, promt: x}\n  B: {run: x}\n  c: {}\nmodels: {m: {}}\n"
    assert sorted(codes(text)) == ["E104", "E104", "E105", "E105", "E107", "E108", "E109"]


def test_an_entry_of_a_list_goes_by_its_field_and_a_name_hears_how_long_it_may_be() -> None:
    text = f"version: 1\nsteps: {{{'a' * 129}: {{run: x, retry: {{attempts: 2, on: [timeut, 999, []]}}}}}}\n"
    with pytest.raises(SpecErrors) as caught:
        read_spec(text.encode())
    length, known, most, kind = (one.message for one in caught.value.diagnostics)
    assert length.endswith("is not a name: it has 129 characters, and 128 is the most")
    assert known.startswith("entry 1 of `on` must be `timeout`")
    assert most == "entry 2 of `on` must be at most 599"
    assert kind.startswith("entry 3 of `on` must be")


def test_warnings_leave_a_spec_whole() -> None:
    spec = read_spec(b"version: 1\nsteps: {}\n".replace(b"{}", b"\n  a:\n    agent: {}\n    prompt: see issue #3\n"))
    assert isinstance(spec, Spec)
    assert [one.code for one in spec.diagnostics] == ["W501"]
