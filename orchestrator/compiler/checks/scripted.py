"""Rules of scripted models: the tools that their calls name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.compiler.fields import OPENING

if TYPE_CHECKING:
    from orchestrator.compiler.lower import Lowered

BUILT_IN = frozenset(
    {
        "handoff", "spawn", "plan", "todo", "note", "remember", "recall", "board_get", "board_set", "skill",
        "read_result",
    }
)  # fmt: skip


def check(lowered: Lowered) -> None:
    """Each call names a tool of the file, one operation of it, another agent, or what is built in."""
    resolved = lowered.resolved
    named = lowered.tools.named
    offered = {name for name, draft in named.items() if not draft.definition.operations}
    offered |= {f"{name}.{one}" for name, draft in named.items() for one in draft.definition.operations}
    known = sorted(offered | set(resolved.agents)) + sorted(BUILT_IN)
    for name, entry in (resolved.document.models or {}).items():
        for index, reply in enumerate(entry.replies or ()):
            for number, call in enumerate(reply.calls or ()):
                if OPENING not in call.tool and call.tool not in known:
                    at = ("models", name, "replies", index, "calls", number, "tool")
                    resolved.report.unknown("E233", "tool", call.tool, known, at)
