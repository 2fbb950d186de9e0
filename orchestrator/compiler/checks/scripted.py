"""Rules of scripted models: the tools that their calls name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.agents import keeping, topology
from orchestrator.compiler.fields import OPENING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.compiler.lower import Lowered

BUILT_IN: Final = ("read_result",)
NAMES: Final[Mapping[str, str]] = {**keeping.NAMES, **topology.NAMES}


def check(lowered: Lowered) -> None:
    """Each call names a tool of the file, one operation of it, or what is built in."""
    resolved = lowered.resolved
    named = lowered.tools.named
    servers = {name: draft.definition.server for name, draft in named.items() if draft.definition.server is not None}
    offered = {name for name, draft in named.items() if not draft.definition.operations and name not in servers}
    offered |= {f"{name}.{one}" for name, draft in named.items() for one in draft.definition.operations}
    offered |= {f"{name}.{one}" for name, server in servers.items() for one in server.tools or ()}
    known = [*sorted(offered), *BUILT_IN, *sorted(lowered.tools.built_in)]
    vague = {tool for tool in named if resolved.report.vague(("tools", tool))}
    for name, entry in (resolved.document.models or {}).items():
        for index, reply in enumerate(entry.replies or ()):
            for number, call in enumerate(reply.calls or ()):
                at = ("models", name, "replies", index, "calls", number, "tool")
                own, _, operation = call.tool.partition(".")
                if OPENING in call.tool or call.tool in known or own in vague:
                    continue
                if operation and own in servers and servers[own].tools is None:
                    continue  # the server alone knows
                given = NAMES.get(call.tool) or (call.tool in resolved.agents and f"delegates: {{{call.tool}: {{}}}}")
                if not given:
                    resolved.report.unknown("E233", "tool", call.tool, known, at)
                elif resolved.report.whole:
                    message = f"no agent here has the tool `{call.tool}`"
                    resolved.report.error("E233", message, at, hint=f"an agent has it with `{given}`")
