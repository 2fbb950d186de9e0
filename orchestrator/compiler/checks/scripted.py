"""Rules of scripted models: the tools that their calls name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.agents.keeping import NAMES
from orchestrator.compiler.fields import OPENING

if TYPE_CHECKING:
    from orchestrator.compiler.lower import Lowered

BUILT_IN: Final = ("read_result",)
LATER: Final = frozenset({"handoff", "spawn", "plan"})
"""Tools of the language that nothing performs yet. Calls of other agents are none either."""


def check(lowered: Lowered) -> None:
    """Each call names a tool of the file, one operation of it, or what is built in."""
    resolved = lowered.resolved
    named = lowered.tools.named
    offered = {name for name, draft in named.items() if not draft.definition.operations}
    offered |= {f"{name}.{one}" for name, draft in named.items() for one in draft.definition.operations}
    known = [*sorted(offered), *BUILT_IN, *sorted(lowered.tools.built_in)]
    later = LATER | set(resolved.agents)
    vague = {tool for tool in named if resolved.report.vague(("tools", tool))}
    for name, entry in (resolved.document.models or {}).items():
        for index, reply in enumerate(entry.replies or ()):
            for number, call in enumerate(reply.calls or ()):
                at = ("models", name, "replies", index, "calls", number, "tool")
                if OPENING in call.tool or call.tool in known or call.tool.partition(".")[0] in vague:
                    continue
                if call.tool in NAMES and resolved.report.whole:
                    hint = f"an agent has it with `{NAMES[call.tool]}`"
                    resolved.report.error("E233", f"no agent here has the tool `{call.tool}`", at, hint=hint)
                elif call.tool in NAMES:
                    continue
                elif call.tool in later:
                    what = "the tool" if call.tool in LATER else "a call of the agent"
                    resolved.report.error("E190", f"{what} `{call.tool}` is not available yet", at)
                else:
                    resolved.report.unknown("E233", "tool", call.tool, known, at)
