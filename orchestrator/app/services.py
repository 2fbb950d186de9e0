"""What the engine needs from outside, built from names: providers, performers, secrets, prices, a folder of files."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.app.graphs import constant_settings, models_of, tools_of
from orchestrator.app.prices import cost, reserve
from orchestrator.app.secrets import Missing, SecretsMissing, resolve_secrets, secret_value
from orchestrator.engine.effects import Services, keep_copy
from orchestrator.tools.redact import Redactor, reveal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.app.config import Named
    from orchestrator.engine.planning import Plan
    from orchestrator.graph.nodes import AgentDef, Graph


def secrets_of(graph: Graph) -> dict[str, str]:
    """The values of the graph's secrets, and of the keys that its models need. Raises ``SecretsMissing``, with all.

    A key that is in a file goes into this process's environment, where providers look for it; children get none of it.
    """
    missing: list[Missing] = []
    found: dict[str, str] = {}
    try:
        found = resolve_secrets(graph.secrets)
    except SecretsMissing as error:
        missing += error.missing
    for name in _keys_needed(graph):
        value = secret_value(name)
        if isinstance(value, str):
            found[name] = os.environ[name] = value
        else:
            missing.append(value)
    if missing:
        raise SecretsMissing(missing)
    return found


def _keys_needed(graph: Graph) -> list[str]:
    from orchestrator.providers import missing_key

    found = (missing_key(constant_settings(model), {}) for model in models_of(graph).values())
    return sorted({name for name in found if name is not None})


def build_services(secrets: Mapping[str, str], *, redactor: Redactor, files_folder: Path) -> Services:
    """The services of one process. Providers and performers are imported when something calls them."""
    from orchestrator.providers import load_provider
    from orchestrator.tools import load_performer
    from orchestrator.tools.sandbox import why_none

    return Services(
        provider=cache(load_provider),
        performer=cache(load_performer),
        reveal=lambda value: reveal(value, secrets),
        redact=redactor,
        reserve=reserve,
        cost=cost,
        files_folder=files_folder,
        no_sandbox=why_none,
        plan=_plan,
    )


def _plan(agent: AgentDef, graph: Graph, written: Mapping[str, Any], most: int, folder: str) -> Plan:
    """Compile what an agent planned. The compiler comes in when an agent plans."""
    from orchestrator.compiler.plans import Planned, compile_plan
    from orchestrator.engine.planning import Plan
    from orchestrator.tools.inspection import inspect_function

    found = compile_plan(agent, graph, written, most=most, folder=folder, inspect=inspect_function)
    if isinstance(found, Planned):
        return Plan(found.node, found.steps)
    return Plan(problems=tuple(found.problems))


def unguarded(graph: Graph) -> list[str]:
    """The tools of the graph that prefer a sandbox and will have none here. Raises NoSandbox where one requires it."""
    from orchestrator.tools.sandbox import NoSandbox, why_none

    wanted = {tool.name: tool.sandbox for tool in tools_of(graph) if tool.sandbox != "none"}
    why = why_none() if wanted else None
    if why is None:
        return []
    for name, mode in wanted.items():
        if mode == "required":
            raise NoSandbox(why, what=f"`{name}`")
    return sorted(wanted)


def files_folder(named: Named) -> Path:
    """Where copies of stored files go: beside an SQLite store, else in the user's state directory."""
    from orchestrator.platform import user_state_dir
    from orchestrator.stores.urls import SqliteUrl, parse_url

    place = None if "${{" in named.url else parse_url(named.url, base=named.folder)
    if not isinstance(place, SqliteUrl):
        return user_state_dir() / "files"
    path = place.path.absolute()
    return path.parent / "files" if path.parent.name == ".orch" else path.with_name(f"{path.name}.files")


def keep_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the copies of file inputs."""
    for name, body in files.items():
        keep_copy(folder, name, body)


def changed_sources(graph: Graph) -> list[str]:
    """The files of the graph whose bytes are not what they were; one that is gone counts."""
    from pathlib import Path

    from orchestrator.jsonish import digest

    changed: list[str] = []
    for name, known in graph.sources.items():
        try:
            same = digest(Path(name).read_bytes()) == known
        except OSError:
            same = False
        if not same:
            changed.append(name)
    return changed
