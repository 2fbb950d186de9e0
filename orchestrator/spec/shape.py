"""Plain data -> a checked document: faults as diagnostics at their places, every model told its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.errors import did_you_mean
from orchestrator.spec import availability
from orchestrator.spec.annotations import fields_of, members_of, model_at
from orchestrator.spec.diagnostics import Diagnostic
from orchestrator.spec.document import Document
from orchestrator.spec.model import Model, key_of
from orchestrator.spec.reader import read
from orchestrator.spec.steps import STEP_KINDS, Step, StepBase, WaitSignal
from orchestrator.spec.tools import TOOL_KINDS, Tool, ToolBase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.spec.load import Loaded
    from orchestrator.spec.nodes import DataPath
    from orchestrator.spec.reader import Fault

_SECTIONS: Final = {
    "steps": "step",
    "finally": "step",
    "cases": "case",
    "agents": "agent",
    "tools": "tool",
    "models": "model",
    "pipelines": "pipeline",
    "inputs": "input",
    "types": "type",
    "delegates": "delegate",
}
MAX_SHOWN: Final = 1_000
_SHAPES: Final = {
    "plain": "text",
    "text": "text",
    "flag": "true or false",
    "number": "a number",
    "list": "a list",
    "map": "a mapping",
}
_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def document_of(loaded: Loaded) -> tuple[Document | None, list[Fault]]:
    """The document of a file's data, or all that keeps it from being one."""
    document, faults = read(Document, loaded.data)
    if document is not None:
        for _ in _placed(document, ()):
            pass
    return document, faults


def diagnostics_of(errors: list[Fault], loaded: Loaded) -> list[Diagnostic]:
    """A diagnostic for each error; of very many, the first ones, and how many there are."""
    found = [_diagnostic(one, loaded) for one in errors[:MAX_SHOWN]]
    if len(errors) > MAX_SHOWN:
        found[-1] = replace(found[-1], hint=f"and {len(errors) - MAX_SHOWN:,} problems more")
    return found


def models_of(model: Model) -> Iterator[Model]:
    """A model and every model inside of it, from the outside in, in the order of the file."""
    return _placed(model, model.at)


def _placed(value: Any, path: DataPath) -> Iterator[Model]:
    if isinstance(value, Model):
        value.place(path)
        yield value
        for name, item in vars(value).items():
            yield from _placed(item, (*path, key_of(name)))
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from _placed(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _placed(item, (*path, index))


def owner(path: DataPath) -> str:
    """What a path stands in, in words: ``step `fetch```, or ``the file``."""
    for at in range(len(path) - 1, 0, -1):
        section = path[at - 1]
        if (
            section in _SECTIONS
            and isinstance(path[at], str)
            and (at < 2 or path[at - 2] not in ("with", "set", "output"))
        ):
            rest = [str(part) for part in path[at + 1 :] if isinstance(part, str)]
            inside = f"`{rest[-1]}` of " if rest else ""
            return f"{inside}{_SECTIONS[str(section)]} `{str(path[at])[:80]}`"
    words = [str(part) for part in path if isinstance(part, str)]
    return f"`{words[-1][:80]}`" if words else "the file"


def _diagnostic(error: Fault, loaded: Loaded) -> Diagnostic:
    where = error["loc"]
    at_key = bool(where) and where[-1] == "[key]"
    path: DataPath = tuple(part for part in where if not str(part).startswith("\0"))
    if at_key:
        path = path[:-1]
    kind, context = error["type"], error["ctx"]
    match kind:
        case "extra_forbidden":
            return _unknown(where, path, loaded)
        case "missing":
            message = f"`{path[-1]}` is missing in {owner(path[:-1])}"
            return Diagnostic("E105", message, loaded.key_mark(path[:-1]), _missing_hint(error["input"], where))
        case "union_tag_invalid":
            return _no_member(error, path, loaded)
        case "literal_error":
            return _not_listed(error, path, loaded)
        case "too_short" | "too_long":
            return _length(error, path, loaded)
        case _ if kind in _WANTED:
            return _other_kind(_WANTED[kind], error["input"], path, loaded)
        case _ if kind in _BOUNDS:
            words, name = _BOUNDS[kind]
            return Diagnostic("E107", f"{_subject(path)} must be {words} {context[name]}", loaded.mark(path))
        case _:
            return _own(error, path, loaded, at_key=at_key)


def _own(error: Fault, path: DataPath, loaded: Loaded, *, at_key: bool) -> Diagnostic:
    """A problem that a model of ours raised: of a key, of a value, or of one field of a mapping."""
    context, code = error["ctx"], error["type"]
    if at_key:
        return Diagnostic(code, error["msg"], loaded.key_mark(path))
    if "offset" in context:
        inner = (*path, 0) if context["item"] else path
        mark = loaded.mark_in(inner, context["offset"], context["offset"] + 3)
        return Diagnostic(code, error["msg"], mark, "pass it by `env`, `args` or `stdin`")
    if "field" not in context:
        return Diagnostic(code, error["msg"], loaded.mark(path))
    if context["field"] is None:
        return Diagnostic(code, f"{error['msg']} in {owner(path)}", loaded.key_mark(path))
    return Diagnostic(code, error["msg"], loaded.key_mark((*path, context["field"])))


def _unknown(where: tuple[Any, ...], path: DataPath, loaded: Loaded) -> Diagnostic:
    name, mark = str(path[-1]), loaded.key_mark(path)
    model = model_at(where[:-1])
    known = fields_of(model)
    for base, kinds, members, noun in ((StepBase, STEP_KINDS, Step, "step"), (ToolBase, TOOL_KINDS, Tool, "tool")):
        if issubclass(model, base):
            fits = [kind for kind, member in zip(kinds, members_of(members), strict=True) if name in fields_of(member)]
            if fits:
                own = next(kind for kind in kinds if kind in known)
                hint = f"it goes with {_listed(fits)}"
                return Diagnostic("E127", f"`{name}` does not go with `{own}` in a {noun}", mark, hint)
    close = did_you_mean(name, known)
    hint = f"did you mean `{close}`?" if close else f"known: {_listed(sorted(known), 'and')}"
    return Diagnostic("E104", f"unknown field `{name[:80]}` in {owner(path[:-1])}", mark, hint)


def _no_member(error: Fault, path: DataPath, loaded: Loaded) -> Diagnostic:
    tag = error["ctx"]["tag"].removeprefix("\0")
    found = _KINDS.get(tag)
    value = error["input"]
    if found is not None and isinstance(value, dict):
        return _not_one_kind(cast("dict[str, Any]", value), *found, path, loaded)
    if tag == "part":
        message = "a part of a text has one of `text`, `each`, `file` or `template`"
        return Diagnostic("E109", message, loaded.mark(path))
    wanted = dict.fromkeys(_SHAPES.get(one.removeprefix("\0"), "a mapping") for one in error["ctx"]["expected_tags"])
    return _other_kind(_listed(list(wanted), quote=False), value, path, loaded)


_KINDS: Final[dict[str, tuple[type[Model], tuple[str, ...]]]] = {
    "step kinds": (StepBase, STEP_KINDS),
    "tool kinds": (ToolBase, TOOL_KINDS),
    "wait kinds": (WaitSignal, ("until", "signal")),
}


def _not_one_kind(
    value: dict[str, Any], base: type[Model], kinds: tuple[str, ...], path: DataPath, loaded: Loaded
) -> Diagnostic:
    given = [name for name in value if name in kinds]
    what = owner(path)
    if given:
        mark = loaded.key_mark((*path, given[1]))
        return Diagnostic("E109", f"{what} has more than one kind: {_listed(given, 'and')}", mark, "keep one of them")
    for name in value:
        close = did_you_mean(name, kinds)
        if close:
            hint = f"did you mean `{close}`?"
            return Diagnostic("E109", f"{what} has no kind", loaded.key_mark((*path, name)), hint)
    hint = f"exactly one of {_listed(availability.performed(base, kinds))}"
    return Diagnostic("E109", f"{what} has no kind", loaded.key_mark(path), hint)


def _subject(path: DataPath) -> str:
    """What stands at a path, by its field: an index alone tells nothing."""
    *around, last = path
    if isinstance(last, str) or not around:
        return f"`{last}`"
    return f"entry {last + 1} of {_subject(tuple(around))}"


def _not_listed(error: Fault, path: DataPath, loaded: Loaded) -> Diagnostic:
    values = [str(one) for one in error["ctx"]["expected"]]
    given = error["input"]
    close = did_you_mean(given, values) if isinstance(given, str) else None
    hint = f"did you mean `{close}`?" if close else None
    if not isinstance(given, str) and not values[0].isdigit():
        return _other_kind(_listed(values), given, path, loaded)
    return Diagnostic("E107", f"{_subject(path)} must be {_listed(values)}", loaded.mark(path), hint)


def _length(error: Fault, path: DataPath, loaded: Loaded) -> Diagnostic:
    context = error["ctx"]
    if context.get("actual_length") == 0:
        return Diagnostic("E107", f"{_subject(path)} is empty", loaded.mark(path))
    wanted = context.get("min_length", context.get("max_length"))
    return Diagnostic("E107", f"{_subject(path)} must have {wanted} entries", loaded.mark(path))


def _other_kind(wanted: str, value: Any, path: DataPath, loaded: Loaded) -> Diagnostic:
    hint = None
    if wanted.startswith("text") and isinstance(value, int | float) and not isinstance(value, bool):
        hint = "quote it"
    elif isinstance(value, str) and "${{" in value:
        hint = "no `${{ }}` here"
    mark = loaded.key_mark(path) if isinstance(value, dict | list) or value is None else loaded.mark(path)
    return Diagnostic("E106", f"{_subject(path)} must be {wanted}, and is {_found(value, wanted)}", mark, hint)


def _found(value: Any, wanted: str) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str():
            return "text"
        case int():
            return "too large" if wanted == "a number" else "a number"
        case float():
            return "a fraction" if wanted == "a whole number" else "a number"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _missing_hint(value: Any, where: tuple[Any, ...]) -> str | None:
    """The field that was written in place of the missing one, if one looks like it."""
    known = fields_of(model_at(where[:-1]))
    strange = [name for name in cast("dict[str, Any]", value) if name not in known]
    close = did_you_mean(str(where[-1]), strange)
    return f"`{close}` looks like it" if close else None


def _listed(names: list[str] | tuple[str, ...], word: str = "or", *, quote: bool = True) -> str:
    shown = [f"`{name}`" if quote else name for name in names]
    return " ".join([", ".join(shown[:-1]), word, shown[-1]]) if len(shown) > 1 else "".join(shown)
