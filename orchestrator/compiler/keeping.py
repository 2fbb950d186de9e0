"""What an agent keeps -> the fields of ``AgentDef`` that say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from orchestrator.agents.keeping import tools_of
from orchestrator.graph.nodes import MemoryDef, SkillDef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.compiler.report import Path, Report
    from orchestrator.graph.nodes import AgentDef
    from orchestrator.spec.agents import AgentEntry, Memory

_Todo: TypeAlias = Literal["", "own", "shared"]
_TODO: Final[Mapping[bool | str | None, _Todo]] = {None: "", False: "", True: "own", "shared": "shared"}


def kept_by(agent: AgentEntry, at: Path, report: Report) -> dict[str, Any]:
    """The fields ``notes todo memory share skills`` of an agent at a place of the file."""
    return {
        "notes": agent.notes is True,
        "todo": _TODO[agent.todo],
        "memory": None if agent.memory is None else _memory(agent.memory),
        "share": _share(agent.share or [], (*at, "share"), report),
        "skills": _skills(agent.skills or [], (*at, "skills"), report),
    }


def built_into(agent: AgentDef, written: AgentEntry, at: Path, report: Report) -> set[str]:
    """The names of the tools that an agent has for what it keeps; no tool and no agent that it may call goes by one."""
    own = {tool.name for tool in tools_of(agent)} | ({"skill"} if written.skills else set())
    for index, name in enumerate(written.tools or ()):
        if name in own and any(tool.name == name and not tool.operations for tool in agent.tools):
            message = f"`{name}` is a tool that is built in, and this agent has it"
            report.error("E210", message, (*at, "tools", index), hint="give the tool of the file another name")
    for name in written.delegates or ():
        if name in own:
            message = f"`{name}` is a tool that is built in, and this agent has it"
            report.error("E210", message, (*at, "delegates", name), key=True, hint="give the agent another name")
    return own


def _memory(memory: Memory) -> MemoryDef:
    return MemoryDef(scope=memory.scope, recall=memory.recall is not False, remember=memory.remember is not False)


def _share(names: list[str], at: Path, report: Report) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if name in names[:index]:
            report.error("E404", f"the board `{name}` stands twice", (*at, index))
    return tuple(dict.fromkeys(names))


def _skills(folders: list[str], at: Path, report: Report) -> tuple[SkillDef, ...]:
    found: dict[str, SkillDef] = {}
    for index in range(len(folders)):
        for skill in report.loaded.skills.get((*at, index), ()):
            if skill.name in found:
                report.error("E404", f"the skill `{skill.name}` stands twice", (*at, index))
            found[skill.name] = SkillDef(
                name=skill.name, description=skill.description, text=skill.text, files=skill.files
            )
    return tuple(found.values())
