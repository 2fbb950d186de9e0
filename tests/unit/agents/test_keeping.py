from __future__ import annotations

import pytest

from orchestrator.agents.keeping import (
    BOARD_BYTES,
    FACT_BYTES,
    KEY_CHARS,
    LIST_BYTES,
    NAMES,
    RECALLED_BYTES,
    RECALLED_FACTS,
    VALUE_BYTES,
    Refused,
    best,
    changed_board,
    listed,
    noted,
    read_board,
    recalled,
    skill_text,
    tools_of,
)
from orchestrator.agents.turns import offers_of
from orchestrator.graph.nodes import AgentDef, MemoryDef, ModelDef, SkillDef
from orchestrator.journal.kept import Board
from orchestrator.journal.store import Fact
from orchestrator.jsonish import canonical
from orchestrator.spec.types import check_value

MODEL = ModelDef(name="m", settings={})
SKILL = SkillDef(name="bake", description="Bakes bread", text="Knead.\n", files=("a.md", "data/b.csv"))
ALL = AgentDef(
    name="a", model=MODEL, notes=True, todo="own", memory=MemoryDef(scope="s"), share=("plan", "facts"), skills=(SKILL,)
)


def fits(name, args, agent=ALL):
    return not check_value(offers_of(agent)[name].spec.schema, args)


def test_an_agent_has_the_tools_of_what_it_keeps_and_no_others():
    assert list(offers_of(ALL)) == list(NAMES)
    assert offers_of(AgentDef(name="a", model=MODEL)) == {}
    assert list(offers_of(AgentDef(name="a", model=MODEL, notes=True))) == ["note"]
    assert list(offers_of(AgentDef(name="a", model=MODEL, memory=MemoryDef(scope="s", recall=False)))) == ["remember"]
    assert list(offers_of(AgentDef(name="a", model=MODEL, memory=MemoryDef(scope="s", remember=False)))) == ["recall"]


def test_what_a_call_needs_beside_its_arguments_is_given():
    given = {name: dict(offer.given) for name, offer in offers_of(ALL).items() if offer.given}
    assert given == {
        "todo": {"shared": False},
        "remember": {"scope": "s"},
        "recall": {"scope": "s"},
        "skill": {"bake": skill_text(SKILL)},
    }
    shared = AgentDef(name="a", model=MODEL, todo="shared")
    assert offers_of(shared)["todo"].given == {"shared": True}


def test_schemas_take_what_is_meant():
    assert fits("note", {})
    assert fits("note", {"text": "x"})
    assert fits("todo", {"add": "x"})
    assert fits("todo", {"add": ["x", "y"], "done": [1]})
    assert fits("todo", {"done": 1})
    assert fits("board_set", {"board": "plan", "key": "k", "value": None, "expected": {"any": [1]}})
    assert fits("board_get", {"board": "facts"})
    assert fits("board_get", {"board": "facts", "key": "k"})
    assert fits("recall", {"query": ""})
    assert fits("remember", {"key": "k" * KEY_CHARS, "text": "t"})
    assert fits("skill", {"name": "bake"})


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("note", {"text": ""}),
        ("note", {"text": 1}),
        ("note", {"other": "x"}),
        ("todo", {"add": [1]}),
        ("todo", {"done": "1"}),
        ("todo", {"done": 1.5}),
        ("board_get", {}),
        ("board_get", {"board": "secret"}),
        ("board_set", {"board": "plan", "key": "k"}),
        ("board_set", {"board": "plan", "key": "", "value": 1}),
        ("board_set", {"board": "plan", "key": "k" * (KEY_CHARS + 1), "value": 1}),
        ("remember", {"key": "k"}),
        ("remember", {"key": "k" * (KEY_CHARS + 1), "text": "x"}),
        ("recall", {}),
        ("skill", {"name": "fly"}),
    ],
)
def test_schemas_refuse_what_is_not(name, args):
    assert not fits(name, args)


def test_notes_are_added_and_never_more_than_fit():
    assert noted([], {}) == []
    assert noted(["a"], {"text": "b"}) == ["a", "b"]
    room = LIST_BYTES - len(canonical(["", ""]))
    assert len(noted([""], {"text": "x" * room})) == 2
    with pytest.raises(Refused) as refused:
        noted([""], {"text": "x" * (room + 1)})
    assert refused.value.code == "too_large"
    assert str(LIST_BYTES) in refused.value.message


def test_a_list_adds_marks_and_keeps_its_ids():
    one = listed([], {"add": "a"})
    assert one == [{"id": 1, "text": "a", "done": False}]
    two = listed(one, {"add": ["b", "c"], "done": [1]})
    assert two == [
        {"id": 1, "text": "a", "done": True},
        {"id": 2, "text": "b", "done": False},
        {"id": 3, "text": "c", "done": False},
    ]
    assert listed(two, {"done": [1, 3]})[2]["done"]
    assert listed(two, {}) == two
    assert one == [{"id": 1, "text": "a", "done": False}]


def test_a_list_says_which_entries_it_has_not():
    with pytest.raises(Refused, match="no entry 2, 9") as refused:
        listed([{"id": 1, "text": "a", "done": False}], {"done": [9, 1, 2], "add": "b"})
    assert refused.value.code == "invalid_input"


def test_a_list_is_marked_even_where_it_is_full():
    full = listed([], {"add": "x" * (LIST_BYTES - 100)})
    assert listed(full, {"done": 1})[0]["done"]
    with pytest.raises(Refused, match="the list would take"):
        listed(full, {"add": "y" * 100})


def board(**values):
    found = Board()
    for key, value in values.items():
        found.put(key, value)
    return found


def test_a_board_is_read_by_key_or_whole():
    found = board(a=1, b=[2])
    assert read_board(found, {"board": "x"}) == {"a": 1, "b": [2]}
    assert read_board(found, {"board": "x", "key": "b"}) == [2]
    assert read_board(found, {"board": "x", "key": "c"}) is None
    whole = read_board(found, {"board": "x"})
    found.put("c", 3)
    assert whole == {"a": 1, "b": [2]}


def test_a_board_that_is_too_large_to_read_names_its_keys():
    found = board(b="x" * VALUE_BYTES, a=1)
    with pytest.raises(Refused, match="name a key") as refused:
        read_board(found, {"board": "x"})
    assert (refused.value.code, refused.value.detail) == ("too_large", {"keys": ["a", "b"]})
    assert read_board(found, {"board": "x", "key": "a"}) == 1


def put(found, value, **more):
    return changed_board(found, {"board": "x", "key": "k", "value": value, **more})


def test_a_value_is_set_where_the_key_has_what_is_expected():
    assert put(board(), 1) == {"ok": True, "value": 1}
    assert put(board(), 1, expected=None) == {"ok": True, "value": 1}
    assert put(board(k=1), 2, expected=None) == {"ok": False, "value": 1}
    assert put(board(k=1), 2, expected=1) == {"ok": True, "value": 2}
    assert put(board(k={"a": [1], "b": 2}), 3, expected={"b": 2, "a": [1]}) == {"ok": True, "value": 3}
    assert put(board(), 3, expected=0) == {"ok": False, "value": None}
    assert put(board(k=1), None) == {"ok": True, "value": None}


@pytest.mark.parametrize(("has", "expected"), [(1, True), (0, False), (1, 1.0), ("1", 1), ([], {}), (0, None)])
def test_what_only_python_holds_to_be_the_same_is_not(has, expected):
    assert not put(board(k=has), 9, expected=expected)["ok"]


def test_a_value_and_a_board_have_a_largest_size():
    room = VALUE_BYTES - len(canonical("k")) - len(canonical(""))
    assert put(board(), "x" * room)["ok"]
    with pytest.raises(Refused, match="the value takes"):
        put(board(), "x" * (room + 1))
    full = board(**{f"k{n}": "x" * 60_000 for n in range(17)})
    left = BOARD_BYTES - full.size - len(canonical("k")) - len(canonical(""))
    assert put(full, "x" * left)["ok"]
    with pytest.raises(Refused, match="the board would take"):
        put(full, "x" * (left + 1))
    full.put("k", "x" * left)
    assert put(full, "y" * left)["ok"]
    assert put(full, None)["ok"]


def test_a_skill_is_its_text_and_the_names_of_its_files():
    assert skill_text(SKILL) == ("Knead.\n\nOther files in the folder of this skill:\n- a.md\n- data/b.csv\n")
    assert skill_text(SkillDef(name="x", description="y", text="Just this.")) == "Just this."
    described = offers_of(ALL)["skill"].spec.description
    assert "- bake: Bakes bread" in described
    assert "Knead" not in described


def fact(key, text, at=0):
    return Fact(scope="s", key=key, text=text, at=at, by_run="r")


FACTS = [
    fact("oven", "It is slow to heat.", at=1),
    fact("flour", "Kept dry, beside the OVEN.", at=3),
    fact("salt", "Two grams.", at=2),
    fact("süß", "STRASSE", at=2),
]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("oven", ["oven", "flour"]),
        ("OVEN", ["oven", "flour"]),
        ("ove slo", ["oven", "flour"]),
        ("grams", ["salt"]),
        ("straße", ["süß"]),
        ("t", ["salt", "flour", "süß", "oven"]),
        ("nothing like it", ["oven"]),
        ("absent", []),
        ("", ["flour", "salt", "süß", "oven"]),
        ("  ", ["flour", "salt", "süß", "oven"]),
    ],
)
def test_facts_are_found_by_words_best_and_latest_first(query, keys):
    assert [one.key for one in best(FACTS, query)] == keys
    assert [one.key for one in best(FACTS[::-1], query)] == keys


def test_only_so_many_facts_are_recalled():
    many = [fact(f"k{n:03}", "same") for n in range(100)]
    assert [one.key for one in best(many, "same")] == [f"k{n:03}" for n in range(RECALLED_FACTS)]


def test_facts_are_given_while_they_fit():
    large = [fact(f"k{n}", "x" * 5_000) for n in range(5)]
    shown = recalled(large)
    assert [one["key"] for one in shown] == ["k0", "k1", "k2"]
    assert len(canonical(shown)) <= RECALLED_BYTES
    assert recalled([]) == []
    assert len(recalled([fact("k" * KEY_CHARS, '"' * FACT_BYTES)])) == 1


def test_each_name_says_what_gives_it():
    assert {tool.name for tool in tools_of(ALL)} == set(NAMES)
