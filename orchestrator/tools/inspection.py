"""What a python function looks like, read from its source: nothing of the user's is imported or run."""

from __future__ import annotations

import ast
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tools.functions import NoFunction, module_file, split_ref

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCALARS: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "Any": {},
    "object": {},
    "dict": {"type": "object"},
    "list": {"type": "array"},
    "Path": {"type": "string"},
    "datetime": {"type": "string"},
    "date": {"type": "string"},
    "UUID": {"type": "string"},
}
_LISTS = frozenset({"list", "List", "Sequence", "Iterable", "set", "Set", "frozenset"})
_MAPPINGS = frozenset({"dict", "Dict", "Mapping"})
_WRAPPERS = frozenset({"Annotated", "Required", "Final", "Awaitable"})
_DEPTH = 16


def inspect_function(ref: str, search: Sequence[str]) -> dict[str, Any]:
    """What can be known of ``ref`` without running anything.

    ``{"found": False, "problem": …}``; or ``{"found": True, "file", "line", "async", "params", "extra", "context",
    "returns"}``: ``params`` a list of ``{"name", "required", "schema"}`` without ``context``, None where the source
    does not tell; ``extra`` whether it takes any keyword; ``returns`` and ``schema`` JSON Schemas, None where the
    annotation is absent or not simple.
    """
    try:
        module, name = split_ref(ref)
    except NoFunction as error:
        return {"found": False, "problem": error.message}
    problem = f"no module {module!r} in the environment or beside the file"
    for file in _candidates(module, search):
        if file.suffix != ".py":
            return _unknown(file, 1)
        try:
            tree = ast.parse(file.read_bytes(), filename=str(file))
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
            problem = f"{file}: {error}"
            continue
        found = _find(tree.body, name.split("."))
        if found is not None:
            return _described(found, file, tree)
        if _open_ended(tree):
            return _unknown(file, 1)
        problem = f"{file} has no function {name!r}"
    return {"found": False, "problem": problem}


def _candidates(module: str, search: Sequence[str]) -> list[Path]:
    files = [_environment_file(module), *(module_file(Path(folder), module) for folder in search)]
    return [file for file in files if file is not None]


def _environment_file(module: str) -> Path | None:
    """Where the environment has ``module``. ``importlib.util.find_spec`` would import the packages around it."""
    where: Sequence[str] | None = None
    spec = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def _unknown(file: Path, line: int) -> dict[str, Any]:
    return {
        "found": True, "file": str(file), "line": line, "async": False,
        "params": None, "extra": True, "context": False, "returns": None,
    }  # fmt: skip


def _find(body: list[ast.stmt], names: list[str]) -> ast.stmt | None:
    found: ast.stmt | None = None
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                bound = {statement.name}
            case ast.Assign():
                bound = {target.id for target in statement.targets if isinstance(target, ast.Name)}
            case ast.AnnAssign():
                bound = {statement.target.id} if isinstance(statement.target, ast.Name) else set[str]()
            case ast.Import() | ast.ImportFrom():
                bound = {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
            case ast.If() | ast.Try() | ast.With():
                inner = [s for part in ("body", "orelse", "finalbody") for s in getattr(statement, part, [])]
                found = _find(inner, names) or found
                continue
            case _:
                continue
        if names[0] in bound:
            found = statement
    if found is not None and len(names) > 1 and isinstance(found, ast.ClassDef):
        return _find(found.body, names[1:])
    return found


def _open_ended(tree: ast.Module) -> bool:
    """Whether names may come in by ways that the source does not show."""
    return any(
        (isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names))
        or (isinstance(node, ast.FunctionDef) and node.name == "__getattr__")
        for node in tree.body
    )


def _described(found: ast.stmt, file: Path, tree: ast.Module) -> dict[str, Any]:
    if not isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return _unknown(file, found.lineno)
    if any(not _is_plain(decorator) for decorator in found.decorator_list):
        return _unknown(file, found.lineno) | {"async": isinstance(found, ast.AsyncFunctionDef)}
    types = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    spec = found.args
    named = [*spec.posonlyargs, *spec.args]
    optional = {arg.arg for arg in named[len(named) - len(spec.defaults) :]} if spec.defaults else set[str]()
    optional |= {arg.arg for arg, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value is not None}
    params = [
        {"name": arg.arg, "required": arg.arg not in optional, "schema": _schema(arg.annotation, types)}
        for arg in [*named, *spec.kwonlyargs]
    ]
    return {
        "found": True,
        "file": str(file),
        "line": found.lineno,
        "async": isinstance(found, ast.AsyncFunctionDef),
        "params": [param for param in params if param["name"] != "context"],
        "extra": spec.kwarg is not None,
        "context": any(param["name"] == "context" for param in params),
        "returns": _schema(found.returns, types),
    }


def _is_plain(decorator: ast.expr) -> bool:
    """Whether a decorator is known to leave the signature as it is."""
    inner = decorator.func if isinstance(decorator, ast.Call) else decorator
    return _name(inner) in ("cache", "lru_cache", "wraps", "staticmethod", "override")


def _name(node: ast.expr | None) -> str:
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
        case ast.Constant(value=None):
            return "None"
        case _:
            return ""


def _schema(node: ast.expr | None, types: dict[str, ast.ClassDef], depth: int = _DEPTH) -> dict[str, Any] | None:
    """The JSON Schema of an annotation, None where it is not simple."""
    if depth == 0:
        return None
    match node:
        case ast.Constant(value=str(text)):
            try:
                return _schema(ast.parse(text, mode="eval").body, types, depth - 1)
            except (SyntaxError, ValueError):
                return None
        case ast.BinOp(op=ast.BitOr()):
            return _either([node.left, node.right], types, depth)
        case ast.Subscript():
            items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return _generic(_name(node.value), items, types, depth)
        case ast.Name() | ast.Attribute() | ast.Constant(value=None):
            name = _name(node)
            return _class(types[name], types, depth) if name in types else _copy(_SCALARS.get(name))
        case _:
            return None


def _generic(name: str, items: list[ast.expr], types: dict[str, ast.ClassDef], depth: int) -> dict[str, Any] | None:
    if name == "Optional":
        return _either([items[0], ast.Constant(value=None)], types, depth)
    if name == "Union":
        return _either(items, types, depth)
    if name == "Literal":
        values = [item.value for item in items if isinstance(item, ast.Constant)]
        return {"enum": values} if len(values) == len(items) else None
    if name in _WRAPPERS:
        return _schema(items[0], types, depth - 1)
    many = name in _LISTS or (name == "tuple" and len(items) == 2 and _is_ellipsis(items[1]))
    inner = _schema(items[0] if many else items[-1], types, depth - 1)
    if inner is None:
        return None
    if many:
        return {"type": "array", "items": inner}
    if name in _MAPPINGS and len(items) == 2 and _name(items[0]) == "str":
        return {"type": "object", "additionalProperties": inner}
    return None


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _either(nodes: Sequence[ast.expr], types: dict[str, ast.ClassDef], depth: int) -> dict[str, Any] | None:
    choices: list[dict[str, Any]] = []
    for node in nodes:
        schema = _schema(node, types, depth - 1)
        if schema is None:
            return None
        choices += schema.get("anyOf", [schema]) if schema.keys() == {"anyOf"} else [schema]
    return {"anyOf": choices}


def _class(node: ast.ClassDef, types: dict[str, ast.ClassDef], depth: int) -> dict[str, Any] | None:
    """A TypedDict or a dataclass without bases of its own, as a closed object."""
    bases = [_name(base) for base in node.bases]
    marks = [_name(mark.func if isinstance(mark, ast.Call) else mark) for mark in node.decorator_list]
    types = {name: other for name, other in types.items() if other is not node}  # one inside itself is left open
    typed = bases == ["TypedDict"]
    if not typed and (bases or marks != ["dataclass"]):
        return None
    total = not any(word.arg == "total" and _is_false(word.value) for word in node.keywords)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        annotation, optional = statement.annotation, typed and not total
        if isinstance(annotation, ast.Subscript) and _name(annotation.value) in ("NotRequired", "ClassVar", "Required"):
            if _name(annotation.value) == "ClassVar":
                continue
            optional = _name(annotation.value) == "NotRequired"
            annotation = annotation.slice
        schema = _schema(annotation, types, depth - 1)
        properties[statement.target.id] = {} if schema is None else schema
        if not optional:
            required.append(statement.target.id)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _copy(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if schema is None else dict(schema)
