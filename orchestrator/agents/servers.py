"""The tools of MCP servers: from a definition and the list that was journaled to what is offered and called."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.agents.messages import ToolSpec
from orchestrator.agents.turns import READ_REST, Offer, wire_name
from orchestrator.ids import digest_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from orchestrator.graph.nodes import AgentDef, Effect, ToolDef

Listed = dict[str, Any]
"""What a server's list gave: ``{"tools": [{"name", "description", "input", "hints"?}], …}``."""

MOST_CHARS = 64
"""Of a tool's name on the wire, by the rules of the model APIs."""


def effect_is_known(tool: ToolDef, name: str) -> bool:
    """Whether the file says what a second call of a server's tool would do; else its list does."""
    return tool.server is None or tool.server.declared or name in tool.server.effects


def one_tool(tool: ToolDef, name: str, listed: Listed | None) -> ToolDef:
    """A single tool of a server, as the file and then the list say. It may be one that the list does not have."""
    server = tool.server
    if server is None:
        return tool
    entry = next((one for one in (listed or {"tools": ()})["tools"] if one["name"] == name), None)
    effect = tool.effect if server.declared else _hinted(entry)
    return replace(
        tool,
        server=None,
        effect=server.effects.get(name, effect),
        approve=server.approve.get(name, tool.approve),
        description="" if entry is None else entry["description"],
        input=None if entry is None else _without(entry["input"], server.fixed),
    )


def _hinted(entry: Mapping[str, Any] | None) -> Effect:
    """What the server says of it. These are hints, and one that is not given is no promise."""
    hints = {} if entry is None else entry.get("hints", {})
    if hints.get("read_only"):
        return "read"
    return "idempotent" if hints.get("idempotent") else "write"


def _without(schema: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The schema of what a caller gives: without the arguments that are given anyway."""
    if not names:
        return schema
    properties: dict[str, Any] = schema.get("properties", {})
    required: list[str] = schema.get("required", [])
    return {
        **schema,
        "properties": {name: one for name, one in properties.items() if name not in names},
        "required": [name for name in required if name not in names],
    }


def with_servers(offers: Mapping[str, Offer], agent: AgentDef, lists: Mapping[str, Listed]) -> dict[str, Offer]:
    """``offers`` and what the lists of an agent's servers add to them."""
    found = dict(offers)
    for tool in agent.tools:
        for entry in lists[tool.name]["tools"] if tool.server is not None else ():
            own = one_tool(tool, entry["name"], lists[tool.name])
            name = wire_name_of(tool.name, entry["name"], found)
            found[name] = Offer(ToolSpec(name, own.description, own.input or {}), own, entry["name"])
    return found if not found or "read_result" in found else found | {"read_result": READ_REST}


def wire_name_of(tool: str, name: str, taken: Collection[str]) -> str:
    """The name on the wire of a server's tool: unlike all that are ``taken``, and always the same for the same list."""
    whole = f"{tool}.{name}"
    plain = wire_name(whole)
    fit = re.sub(r"[^A-Za-z0-9_-]", "_", plain)
    if fit == plain and len(fit) <= MOST_CHARS and fit not in taken:
        return fit
    return f"{fit[: MOST_CHARS - 13]}_{digest_text(whole)[:12]}"
