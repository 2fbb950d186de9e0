from __future__ import annotations

import pytest

from orchestrator.graph.nodes import MemoryDef, SkillDef, graph_from_json, to_json
from tests.unit.compiler.helpers import MODELS, compiled, graph_of


def agent_of(keeps, folder=None):
    graph = graph_of(f"{MODELS}steps: {{a: {{agent: {keeps}, prompt: x}}}}", folder)
    assert graph_from_json(to_json(graph)) == graph
    return graph.root.by_name["a"].config.agent


@pytest.mark.parametrize(("written", "todo"), [("true", "own"), ("shared", "shared"), ("false", "")])
def test_a_list_is_an_agents_own_or_shared(written, todo):
    assert agent_of(f"{{todo: {written}}}").todo == todo


def test_what_an_agent_keeps_is_in_the_graph():
    found = agent_of("{notes: true, share: [b, a], memory: {scope: team.facts, recall: false}}")
    assert (found.notes, found.share, found.todo, found.skills) == (True, ("b", "a"), "", ())
    assert found.memory == MemoryDef(scope="team.facts", recall=False, remember=True)
    none = agent_of("{notes: false}")
    assert (none.notes, none.share, none.memory) == (False, (), None)


def test_skills_are_in_the_graph_with_their_texts(tmp_path):
    for name in ("b", "a"):
        (tmp_path / "s" / name).mkdir(parents=True)
        (tmp_path / "s" / name / "SKILL.md").write_text(f"---\nname: {name}\ndescription: D\n---\nText of {name}\n")
    (tmp_path / "s" / "a" / "data.csv").write_text("1")
    found = agent_of("{skills: [s]}", tmp_path)
    assert found.skills == (
        SkillDef(name="a", description="D", text="Text of a\n", files=("data.csv",)),
        SkillDef(name="b", description="D", text="Text of b\n"),
    )


def definition(folder):
    return graph_of(f"{MODELS}steps: {{a: {{agent: {{skills: [s]}}, prompt: x}}}}", folder).root.by_name["a"].definition


def test_the_text_of_a_skill_is_part_of_what_a_step_is(tmp_path):
    (tmp_path / "s").mkdir()
    texts = ["Text", "Other text"]
    hashes = []
    for text in (*texts, texts[0]):
        (tmp_path / "s" / "SKILL.md").write_text(f"---\nname: a\ndescription: D\n---\n{text}\n")
        hashes.append(definition(tmp_path))
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_call_of_a_skill_that_cannot_be_read_is_said_once(tmp_path):
    found = compiled(
        """
        models: {default: {provider: scripted, replies: [{calls: [{tool: skill, with: {name: x}}]}]}}
        steps: {a: {agent: {skills: [nowhere]}, prompt: x}}
        """,
        tmp_path,
    )
    assert [one.code for one in found.diagnostics] == ["E122"]
