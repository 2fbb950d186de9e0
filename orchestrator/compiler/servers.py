"""MCP servers of the file: how one is reached, and what the file says of its tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.compiler.constants import check_url
from orchestrator.compiler.permissions import condition
from orchestrator.graph.nodes import ServerDef

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.compiler.fields import Place
    from orchestrator.compiler.resolve import Resolved
    from orchestrator.expr.values import Value
    from orchestrator.spec.tools import McpTool

_OF_PROGRAMS: Final = ("env", "launcher", "dir", "sandbox")


def server_config(tool: McpTool, place: Place, resolved: Resolved) -> dict[str, Value]:
    """The request's part that describes the server. It outlasts calls, so that ``place`` sees no arguments."""
    from orchestrator.compiler.tools import command_around

    body, at = tool.mcp, tool.mcp.at
    if body.command is not None:
        config: dict[str, Value] = {"command": place.value(body.command, (*at, "command"))}
        return config | command_around({"env": tool.env, "launcher": tool.launcher}, tool.at, place, resolved)
    for name in _OF_PROGRAMS:
        if name in tool.given:
            message = f"`{name}` goes with `command`, not with `url`"
            resolved.report.error("E127", message, (*tool.at, name), key=True)
    secret = place.seeing({"secrets": resolved.secret_types})
    config = {"url": secret.text(body.url or "", (*at, "url"), encode="url")}
    check_url(place.report, config["url"], (*at, "url"))
    if body.headers is not None:
        config["headers"] = secret.value(body.headers, (*at, "headers"))
    return config


def server_of(tool: McpTool, place: Place) -> ServerDef:
    """What the file says of single tools. Names that ``tools`` does not have are errors."""
    body, at = tool.mcp, tool.mcp.at
    for key, names in (("effect", body.effect), ("approve", body.approve)):
        _check_names(names or (), body.tools, (*at, key), place)
    return ServerDef(
        tools=None if body.tools is None else tuple(dict.fromkeys(body.tools)),
        effects=body.effect or {},
        approve={name: condition(text, (*at, "approve", name), place) for name, text in (body.approve or {}).items()},
        declared=tool.effect is not None,
        fixed=tuple(tool.with_ or ()),
    )


def _check_names(names: Iterable[str], known: list[str] | None, at: Any, place: Place) -> None:
    for name in names:
        if known is not None and name not in known:
            place.report.unknown("E233", "tool in `tools`", name, known, (*at, name))
