"""What a python function looks like, read from its source: nothing of the user's is imported or run.

Python binds names in ways that no source shows. What certainly is not there is missing; what may be is unknown.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tools.functions import NoFunction, module_file, split_ref

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec

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
_BINDING = frozenset({"exec", "globals", "locals", "setattr", "vars"})
_BINDING_FIELDS = frozenset({"__dict__", "__path__", "modules"})


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
    known, hidden = _environment(module)
    if hidden:
        return _unknown(Path(hidden), 1)
    beside = (module_file(Path(folder), module) for folder in search)
    for file in (known, *beside):
        if file is None:
            continue
        if file.suffix != ".py":
            return _unknown(file, 1)
        try:
            tree = ast.parse(file.read_bytes(), filename=str(file))
        except (SyntaxError, ValueError) as error:
            problem = f"{file}: {error}"
            continue
        except (OSError, RecursionError):
            return _unknown(file, 1)
        found = _find(tree.body, name.split("."))
        if found is not None:
            return _unknown(file, found.lineno) if _one_of_several(found, tree) else _described(found, file, tree)
        if _may_have(tree, name):
            return _unknown(file, 1)
        problem = f"{file} has no function {name!r}"
    return {"found": False, "problem": problem}


def _environment(module: str) -> tuple[Path | None, str]:
    """The file of ``module`` in the environment, if it has one; and where it may come from without one, or "".

    ``importlib.util.find_spec`` would import the packages around it.
    """
    where: list[str] | None = None
    origin = name = ""
    located = False
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            spec = _spec(name, where)
        except Exception:  # noqa: BLE001  a finder of some distribution's, which may raise anything
            return None, name
        if spec is None:
            return None, origin if _makes_modules(origin) else ""
        inside = spec.submodule_search_locations
        where = None if inside is None else list(inside)
        origin, located = spec.origin or "", spec.has_location
        if not located and inside is None:
            return None, f"{name} ({origin})"  # built in, or frozen
        if inside is None and name != module:
            return None, origin  # what is below a module that is no package was put into sys.modules, like os.path
    return (Path(origin) if origin and located else None), ""


def _spec(name: str, where: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = None if find is None else find(name, where)
        if spec is not None:
            return spec
    return None


def _makes_modules(package: str) -> bool:
    """Whether a package, by the file of its ``__init__``, may have modules in it that no folder shows."""
    if not package:
        return False
    try:
        tree = ast.parse(Path(package).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return True
    return _open_ended(tree)


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


def _one_of_several(found: ast.stmt, tree: ast.Module) -> bool:
    """Whether it depends on a condition which of several functions of this name there is."""
    if found in tree.body or not isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    same = (node for node in _at_top(tree) if isinstance(node, type(found)) and node.name == found.name)
    return sum(1 for _ in same) > 1


def _may_have(tree: ast.Module, name: str) -> bool:
    """Whether ``name``, which ``_find`` did not find, may be there all the same."""
    first, *rest = name.split(".")
    holder = _find(tree.body, [first])
    if rest and isinstance(holder, ast.ClassDef) and (holder.bases or holder.keywords or holder.decorator_list):
        return True
    return _open_ended(tree) or (holder is None and first in _bound(tree))


def _open_ended(tree: ast.Module) -> bool:
    """Whether names may come in by ways that the source does not show."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=names) if any(alias.name == "*" for alias in names):
                return True
            case ast.Name(id=name) if name in _BINDING:
                return True
            case ast.Attribute(attr=name) if name in _BINDING_FIELDS:
                return True
            case _:
                continue
    return "__getattr__" in _bound(tree)


def _bound(tree: ast.Module) -> set[str]:
    """Names that the module may bind at its top by any kind of statement."""
    found: set[str] = set()
    for node in _at_top(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.Name(ctx=ast.Store()):
                found.add(node.id)
            case ast.alias():
                found.add(node.asname or node.name.partition(".")[0])
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.ExceptHandler(name=str(name)):
                found.add(name)
            case _:
                continue
    return found | {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}


def _at_top(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below one, without those of the scopes in it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield from _at_top(child)


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
