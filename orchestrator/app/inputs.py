"""Inputs of a run: from ``-i``, a JSON file, variables and defaults, checked together: all problems show at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from orchestrator import jsonish
from orchestrator.errors import Exit, OrchError, did_you_mean
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.graph.nodes import InputDef
    from orchestrator.spec.diagnostics import Diagnostic

LARGEST_DOCUMENT = 16 * 1024 * 1024
LARGEST_FILE = 64 * 1024 * 1024


class InputErrors(OrchError):
    """Inputs that do not fit; ``diagnostics`` holds every problem."""

    code: ClassVar[str] = "E020"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("; ".join(one.message for one in diagnostics))
        self.diagnostics = tuple(diagnostics)
        self.texts: dict[str, str] = {}


@frozen
class Inputs:
    """Checked values by name, and the bytes of file inputs by their SHA-256."""

    values: dict[str, Any]
    files: dict[str, bytes]


@frozen
class _Given:
    value: Any
    by: str
    text: bool


def gather(
    declared: Sequence[InputDef],
    *,
    pairs: Sequence[str] = (),
    document: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Inputs:
    """The inputs of a run. ``pairs`` are ``name=value``, and win over ``document``, a path or ``-`` for standard input.

    A value of a pair or variable is text where the input's type is; else it is read as JSON. Raises ``InputErrors``.
    """
    problems: list[Diagnostic] = []
    given: dict[str, _Given] = {}
    if document is not None:
        given.update(_from_document(document, problems))
    given.update(_from_pairs(pairs, problems))
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    known = {one.name: one for one in declared}
    for name, value in given.items():
        if name not in known:
            problems.append(_unknown(name, value.by, list(known)))
    for one in declared:
        found = given.get(one.name) or _default(one, env)
        if found is None:
            if one.required:
                problems.append(_problem("E022", f"input `{one.name}` is missing", f"give it with `-i {one.name}=…`"))
            else:
                values[one.name] = None
            continue
        _take(one, found, values, files, problems)
    if problems:
        raise InputErrors(problems)
    return Inputs(values, files)


def _default(one: InputDef, env: Mapping[str, str]) -> _Given | None:
    if one.env and one.env in env:
        return _Given(env[one.env], f"variable {one.env}", text=True)
    return _Given(one.default, "default", text=False) if one.has_default else None


def _take(
    one: InputDef, found: _Given, values: dict[str, Any], files: dict[str, bytes], problems: list[Diagnostic]
) -> None:
    from orchestrator.spec.values import check_value

    value = _typed(one, found) if found.text else found.value
    try:
        value = jsonish.clean(value)
    except (TypeError, ValueError) as error:
        problems.append(_problem("E023", f"input `{one.name}` ({found.by}): {error}"))
        return
    if one.is_file and isinstance(value, str):
        value = _file(one, value, files, problems)
        if value is None:
            return
    if value is None and not one.required:
        values[one.name] = None
        return
    if type(value) is float and value.is_integer() and "integer" in str(one.schema.get("type")):
        value = int(value)
    wrong = check_value(one.schema, value)
    problems.extend(_problem("E023", f"input `{one.name}` ({found.by}): {sentence}") for sentence in wrong)
    values[one.name] = value


def _typed(one: InputDef, found: _Given) -> Any:
    """The value of a text: as it stands where the type takes text and nothing else, or where it is no JSON."""
    kinds = _kinds(one.schema)
    if one.is_file or kinds == {"string"}:
        return found.value
    try:
        value = jsonish.loads(found.value)
    except ValueError:
        return found.value
    if kinds <= {"string", "null"} and value is not None:
        return found.value
    return value


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """What kinds of JSON a schema takes, as far as its top tells; empty where that may be anything."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return {str(each) for each in cast("list[Any]", kind)}
    choices = schema.get("enum")
    if isinstance(choices, list):
        return {"string" if isinstance(each, str) else "other" for each in cast("list[Any]", choices)}
    branches = schema.get("anyOf")
    if isinstance(branches, list):
        found = [_kinds(cast("dict[str, Any]", each)) for each in cast("list[Any]", branches) if isinstance(each, dict)]
        return set[str]().union(*found) if all(found) else {"other"}
    return {"other"}


def _file(one: InputDef, value: str, files: dict[str, bytes], problems: list[Diagnostic]) -> dict[str, Any] | None:
    from orchestrator.agents.attachments import media_type_of

    path = Path(value)
    try:
        if not path.is_file():
            raise FileNotFoundError(2, "is not a file" if path.exists() else "does not exist")
        if path.stat().st_size > LARGEST_FILE:
            raise OSError(27, f"is over {LARGEST_FILE // 1024 // 1024} MiB")
        body = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.append(_problem("E024", f"input `{one.name}`: the file {value[:200]!r} {reason}"))
        return None
    name = jsonish.digest(body)
    files[name] = body
    media_type = media_type_of(path.name, body)
    return {"$file": name, "name": jsonish.clean_text(path.name), "size": len(body), "media_type": media_type}


def _from_pairs(pairs: Sequence[str], problems: list[Diagnostic]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        name = name.strip()
        if not separator or not name:
            problems.append(_problem("E025", f"`-i {jsonish.clean_text(pair[:80])}` is no `name=value`"))
        elif name in given:
            problems.append(_problem("E025", f"input `{name[:80]}` is given twice with `-i`"))
        else:
            given[name] = _Given(value, "-i", text=True)
    return given


def _from_document(source: str, problems: list[Diagnostic]) -> dict[str, _Given]:
    shown = "standard input" if source == "-" else source
    try:
        body = _read_document(source)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.append(_problem("E026", f"the inputs in {shown} cannot be read: {reason}"))
        return {}
    try:
        value = jsonish.loads(body)
    except ValueError as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        problems.append(_problem("E026", f"the inputs in {shown} are not JSON: {reason}"))
        return {}
    if not isinstance(value, dict):
        problems.append(_problem("E026", f'the inputs in {shown} are not a JSON object, `{{"name": value}}`'))
        return {}
    return {name: _Given(item, shown, text=False) for name, item in cast("dict[str, Any]", value).items()}


def _read_document(source: str) -> bytes:
    if source == "-":
        body = sys.stdin.buffer.read(LARGEST_DOCUMENT + 1)
    else:
        with Path(source).open("rb") as file:
            body = file.read(LARGEST_DOCUMENT + 1)
    if len(body) > LARGEST_DOCUMENT:
        raise ValueError(f"over {LARGEST_DOCUMENT // 1024 // 1024} MiB")
    return body


def _unknown(name: str, by: str, known: list[str]) -> Diagnostic:
    close = did_you_mean(name, known)
    hint = f"did you mean `{close}`?" if close else f"it takes {', '.join(known) or 'no inputs'}"
    return _problem("E021", f"there is no input `{jsonish.clean_text(name[:80])}` ({by})", hint)


def _problem(code: str, message: str, hint: str | None = None) -> Diagnostic:
    from orchestrator.spec.diagnostics import Diagnostic

    return Diagnostic(code, message, None, hint)
