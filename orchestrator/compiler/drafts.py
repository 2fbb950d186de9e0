"""The second pass's working form: graph nodes with the sites that the checks come back to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.frozen import field, slotted
from orchestrator.spec.types import ANY, ObjectType, Type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.compiler.fields import Site
    from orchestrator.compiler.report import Path
    from orchestrator.compiler.scope import Names
    from orchestrator.graph.nodes import AgentDef, Node, ToolDef
    from orchestrator.spec.steps import StepBase


@slotted(kw_only=True)
class ToolDraft:
    """A tool. ``input`` is what a caller may give, None where nothing says it; ``fixed`` what the tool gives itself."""

    definition: ToolDef
    input: ObjectType | None = None
    output: Type | None = None
    fixed: frozenset[str] = frozenset()


@slotted(kw_only=True)
class AgentDraft:
    """An agent; ``output`` None: text."""

    definition: AgentDef
    output: Type | None = None


@slotted(kw_only=True)
class Call:
    """Arguments for a tool, at a site or none given: what the tool takes, and what it is called."""

    tool: str
    at: Path
    input: ObjectType
    args: Site | None


@slotted(kw_only=True)
class Draft:
    """A step as lowered.

    ``said`` is the type in its ``output``; ``known`` that of what it calls, ``checked`` where the engine must hold the
    result to it. ``sites`` are its own, in order; ``over`` is what a map or switch goes over. Nothing is
    known of what a ``vague`` one gives.
    """

    node: Node
    at: Path
    step: StepBase
    sites: list[Site]
    known: Type | None = None
    said: Type | None = None
    checked: bool = False
    over: Site | None = None
    key: Site | None = None
    calls: list[Call] = field(default_factory=list[Any])
    result: Site | None = None
    block: BlockDraft | None = None
    do: Draft | None = None
    cases: Mapping[str, Draft] = field(default_factory=dict[Any, Any])
    otherwise: Draft | None = None
    vague: bool = False
    fallback: Draft | None = None
    type: Type = ANY


@slotted(kw_only=True)
class BlockDraft:
    """The steps of one block, those of ``finally`` too, by name."""

    names: Names
    at: Path
    drafts: dict[str, Draft] = field(default_factory=dict[Any, Any])
