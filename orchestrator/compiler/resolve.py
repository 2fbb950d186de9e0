"""The first pass: what the file's names stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from orchestrator.compiler.bounds import DEPTH, PARTS, parts_of
from orchestrator.expr.check import Namespace
from orchestrator.frozen import field, slotted
from orchestrator.graph.nodes import InputDef, SecretDef
from orchestrator.regex import regex
from orchestrator.spec.diagnostics import Diagnostic
from orchestrator.spec.steps import StepBase
from orchestrator.spec.types import (
    ANY,
    NO_DEFAULT,
    STRING,
    FileType,
    ObjectType,
    Type,
    bare,
    facets_of,
    may_be_null,
    nullable,
    parse_type_all,
    to_schema,
    without_null,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from orchestrator.compiler.report import Path, Report
    from orchestrator.spec.agents import AgentEntry, ModelEntry
    from orchestrator.spec.document import Document
    from orchestrator.spec.tools import ToolBase

Kind: TypeAlias = Literal["models", "tools", "agents", "types"]
Inspect: TypeAlias = "Callable[[str, list[str]], dict[str, Any]]"
"""What is known of a python function by its source: see ``orchestrator.tools.inspection.inspect_function``."""

WHAT: Final[Mapping[Kind, tuple[str, str]]] = {
    "models": ("E234", "model"),
    "tools": ("E233", "tool"),
    "agents": ("E232", "agent"),
    "types": ("E220", "type"),
}
ALL_PARTS: Final = 100_000
_WORD: Final = regex(r"[A-Za-z][A-Za-z0-9_]*")


@slotted
class Resolved:
    """A document, and what its names stand for. ``used`` gathers the named things that something refers to."""

    document: Document
    report: Report
    inspect: Inspect | None
    plugins: Callable[[], Collection[str]]
    priced: Callable[[Mapping[str, Any]], bool]
    models: Mapping[str, tuple[str, ModelEntry]]
    tools: Mapping[str, ToolBase]
    agents: Mapping[str, AgentEntry]
    types: dict[str, Type]
    inputs: tuple[InputDef, ...]
    input_types: ObjectType
    secrets: tuple[SecretDef, ...]
    steps: Mapping[str, Path]
    parts: int = 0
    used: set[tuple[str, str]] = field(default_factory=set[Any])

    def type_at(self, data: Any, at: Path) -> Type:
        """The type that a field writes; ``any`` where it is none, which is said."""
        for word in words(data):
            self.used.add(("types", word))
        if self.parts > ALL_PARTS:
            return ANY
        found = read_type(self.report, data, at, self.types)
        self.parts += parts_of(found) or 0
        if self.parts > ALL_PARTS:
            self.report.error("E116", f"the types of the file have over {ALL_PARTS:,} parts in all", at)
        return found

    def maybe_type(self, data: Any, at: Path) -> Type | None:
        return None if data is None else self.type_at(data, at)

    def find(self, kind: Kind, name: str, at: Path) -> Any:
        """The definition of a name; None where there is none, which is said."""
        table = cast("Mapping[str, Any]", getattr(self, kind))
        if name in table:
            self.used.add((kind, name))
            return table[name]
        self.report.unknown(*WHAT[kind], name, table, at)
        return None

    @property
    def secret_types(self) -> Namespace:
        return Namespace({one.name: nullable(STRING) if one.optional else STRING for one in self.secrets}, "secret")


def resolve(
    document: Document,
    report: Report,
    *,
    swap: Mapping[str, str],
    inspect: Inspect | None,
    plugins: Callable[[], Collection[str]] = frozenset,
    priced: Callable[[Mapping[str, Any]], bool] = lambda _settings: True,
) -> Resolved:
    """Name by name: types, inputs, secrets, models (as swapped), tools, agents and the steps of all blocks."""
    types = _types(document.types or {}, report)
    resolved = Resolved(
        document,
        report,
        inspect,
        plugins,
        priced,
        models=_models(document.models or {}, report, swap),
        tools=document.tools or {},
        agents=document.agents or {},
        types=types,
        inputs=(),
        input_types=ObjectType({}),
        secrets=_secrets(document.secrets or [], report),
        steps=dict(_steps(document)),
    )
    resolved.used.update(("types", word) for data in (document.types or {}).values() for word in words(data))
    resolved.inputs, resolved.input_types = _inputs(resolved)
    return resolved


def read_type(report: Report, data: Any, at: Path, names: Mapping[str, Type]) -> Type:
    """The type that plain data writes; ``any`` where it is none, or too large, which is said."""
    found, problems = parse_type_all(data, names)
    for problem in problems:
        report.error(problem.code, problem.message, (*at, *problem.path), hint=problem.hint)
    if found is not None and parts_of(found) is None:
        message = f"a type has at most {PARTS:,} parts, with the types that it names, and nests at most {DEPTH} deep"
        report.error("E116", message, at, hint="use `any` for a part of it")
        return ANY
    return ANY if found is None else found


def words(data: Any) -> Iterator[str]:
    """The words of a type as written that may name another one."""
    match data:
        case str():
            yield from _WORD.findall(data)
        case list():
            for item in cast("list[Any]", data):
                yield from words(item)
        case {"object": dict() as fields} if len(cast("dict[str, Any]", data)) == 1:
            yield from words(list(cast("dict[str, Any]", fields).values()))
        case {"type": inner}:
            yield from words(inner)
        case {"enum": _} | {"schema": _}:
            return
        case dict():
            yield from words(list(cast("dict[str, Any]", data).values()))
        case _:
            return


def _types(written: Mapping[str, Any], report: Report) -> dict[str, Type]:
    """Named types, each read after those that it names. A cycle is said once, and its types are ``any``."""
    done: dict[str, Type] = {name: ANY for name in report.doubts.names if name not in written}
    for first in written:
        path: list[str] = []
        waiting: list[tuple[str, Iterator[str]]] = []

        def enter(name: str, waiting: list[tuple[str, Iterator[str]]] = waiting, path: list[str] = path) -> None:
            waiting.append((name, (word for word in words(written[name]) if word in written)))
            path.append(name)

        if first not in done:
            enter(first)
        while waiting:
            name, rest = waiting[-1]
            inner = next((word for word in rest if word not in done), None)
            if inner is None:
                waiting.pop()
                path.pop()
                done[name] = done.get(name) or read_type(report, written[name], ("types", name), done)
            elif inner in path:
                cycle = " → ".join([*path[path.index(inner) :], inner])
                report.error("E402", f"types in a cycle: {cycle}", ("types", inner), key=True, hint="use `any` in one")
                done[inner] = ANY
            else:
                enter(inner)
    return done


def _inputs(resolved: Resolved) -> tuple[tuple[InputDef, ...], ObjectType]:
    inputs: list[InputDef] = []
    types: dict[str, Type] = {}
    for name, data in (resolved.document.inputs or {}).items():
        found = resolved.type_at(data, ("inputs", name))
        facets = facets_of(found)
        given = facets.default is not NO_DEFAULT
        inputs.append(
            InputDef(
                name=name,
                schema=to_schema(found),
                required=not (given or may_be_null(found) or _says_optional(data)),
                has_default=given,
                default=facets.default if given else None,
                env=facets.env,
                description=facets.description or "",
                is_file=isinstance(without_null(bare(found)), FileType),
            )
        )
        types[name] = found
    return tuple(inputs), ObjectType(types)


def _says_optional(data: Any) -> bool:
    """Whether a type is written with a question mark: ``any?`` is the same type as ``any``."""
    text = data.get("type") if isinstance(data, dict) else data
    return isinstance(text, str) and text.endswith("?")


def _secrets(written: list[str], report: Report) -> tuple[SecretDef, ...]:
    found: dict[str, SecretDef] = {}
    for index, text in enumerate(written):
        secret = SecretDef(name=text.removesuffix("?"), optional=text.endswith("?"))
        if secret.name in found:
            report.error("E404", f"the secret `{secret.name}` stands twice", ("secrets", index))
        found[secret.name] = secret
    return tuple(found.values())


def _models(
    written: Mapping[str, ModelEntry], report: Report, swap: Mapping[str, str]
) -> Mapping[str, tuple[str, ModelEntry]]:
    """Models by the name that agents use: each with the name of the entry that answers."""
    found = {name: (name, entry) for name, entry in written.items()}
    for name, other in swap.items():
        missing = [one for one in (name, other) if one not in written]
        for one in () if report.doubts.cover("E405", ()) else missing:
            if report.doubts.name(one):
                continue
            known = ", ".join(written) or "none"
            report.found.append(Diagnostic("E405", f"--model: there is no model `{one}`", hint=f"known: {known}"))
        if not missing:
            found[name] = (other, written[other])
    return found


def _steps(document: Document) -> Iterator[tuple[str, Path]]:
    """Every step of every block by name: where one stands, for hints."""
    from orchestrator.spec.shape import models_of

    for model in models_of(document):
        if isinstance(model, StepBase) and len(model.at) > 1 and model.at[-2] in ("steps", "finally"):
            yield str(model.at[-1]), model.at
