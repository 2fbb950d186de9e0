"""What is left of a file without what cannot be read, so that the rest of it is checked at the same time.

A field that is unknown or wrong is dropped, a step that cannot be read becomes one of which nothing but the name is
known, and a key that is no name gets one. What follows from that alone must never be said: ``Doubts`` is what checks
ask before they speak. Where that is in doubt, they are silent.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args, get_origin

from orchestrator.errors import did_you_mean
from orchestrator.frozen import field, frozen, slotted
from orchestrator.regex import regex
from orchestrator.spec.agents import AgentEntry, ModelEntry
from orchestrator.spec.annotations import bare, below, fields_of, members_of
from orchestrator.spec.document import Document
from orchestrator.spec.fields import EachPart, FilePart, TemplatePart, TextPart
from orchestrator.spec.model import Bound, Model, Named, key_of
from orchestrator.spec.nodes import Mapping, Sequence
from orchestrator.spec.steps import Step, StepBase
from orchestrator.spec.tools import Tool, ToolBase

if TYPE_CHECKING:
    from orchestrator.spec.load import Loaded
    from orchestrator.spec.nodes import DataPath, Node
    from orchestrator.spec.reader import Fault

Action: TypeAlias = Literal["keep", "drop", "rename", "blank"]

_PARTS: Final = (TextPart, EachPart, FilePart, TemplatePart)
_OF_STEPS: Final = (
    "needs retry timeout budget undo dir resources description on_doubt sandbox env args stdin shell launcher expect"
    " isolate session concurrency max_items prompt"
)
_ALONE: Final[tuple[tuple[type[Model], str], ...]] = (
    (StepBase, _OF_STEPS),
    (ToolBase, "description timeout approve sandbox launcher allow deny max_output dir env on_doubt"),
    (AgentEntry, " ".join(name for name in fields_of(AgentEntry) if name not in ("model", "output"))),
)
"""Fields of an entry that say nothing about its other fields, nor about what refers to it."""
_MADE_OF: Final = {
    "inputs": "E231",
    "secrets": "E238",
    "agents": "E232",
    "tools": "E233",
    "models": "E234 E405",
    "types": "E220",
    "steps": "E230 E236",
    "finally": "E230 E236",
    "imports": "E220 E232 E233 E234 E405",
}
"""Sections of a file, and what cannot be said of names where one is not known."""
_OPEN: Final[dict[str, frozenset[str]]] = {name: frozenset(codes.split()) for name, codes in _MADE_OF.items()}
_LEANING: Final = "E201 E202 E204 E205 E206 E207 E208 E211 E235 E241 E242 E243 E244 E245 E246 E403"
"""What is said of types, arguments, cases and effects: it may follow from a field that is not known."""
_BLANK: Final = {"set": dict[str, Any]()}
_WORDS: Final = regex(r"[\w.?-]+(?:\s*,\s*[\w.?-]+)*")
_LONGEST: Final = 256


@frozen
class Doubts:
    """What is not known of a pruned file.

    ``vague`` are the paths of steps, tools, agents and parts of texts that are not what the author meant; ``names``
    all that stands where nothing was read, ``silent`` the codes of names that nothing can be said about at all.
    """

    vague: frozenset[DataPath] = frozenset()
    names: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()

    def cover(self, code: str, at: DataPath) -> bool:
        """Whether a problem may be no more than a consequence of what is not known."""
        if code in self.silent:
            return True
        if code not in _LEANING or not self.vague:
            return False
        return any(at[:length] in self.vague for length in range(1, len(at) + 1))

    def name(self, name: str) -> bool:
        """Whether a name, or the one before its dot, may be one that was not read."""
        return name in self.names or name.partition(".")[0] in self.names

    def __bool__(self) -> bool:
        return bool(self.vague or self.names or self.silent)


@frozen
class Pruned:
    """A file without what cannot be read. ``lost`` are the paths of mappings that lack a field which was meant."""

    loaded: Loaded
    doubts: Doubts
    lost: frozenset[DataPath]


@slotted
class _Edit:
    """What becomes of a value, and of what is inside of it."""

    action: Action = "keep"
    renamed: bool = False
    vague: bool = False
    lost: bool = False
    inner: dict[str | int, _Edit] = field(default_factory=dict[Any, Any])


@slotted
class _Level:
    """A value on the way to a problem: whether it is a step, may go, and the model that it is an entry of."""

    step: bool = False
    free: bool = False
    model: type[Model] | None = None


@slotted
class _Pruning:
    loaded: Loaded
    vague: set[DataPath]
    lost: set[DataPath]
    names: set[str]
    silent: set[str]
    coarse: bool
    root: _Edit = field(default_factory=_Edit)
    renamed: int = 0

    def take(self, error: Fault) -> None:
        """Find what has to go for a problem to be gone, and what is not known then."""
        where = error["loc"]
        at_key = bool(where) and where[-1] == "[key]"
        path, levels = _levels(where[:-1] if at_key else where)
        named = error["ctx"].get("field")
        if at_key:
            self.cut(path, levels, len(path), "rename")
        elif error["type"] == "extra_forbidden":
            self.cut(path, levels, len(path), "drop", unknown=True)
        elif isinstance(named, str) and not self.coarse and _optional(levels[len(path)].model, named):
            self.cut((*path, named), [*levels, _Level()], len(path) + 1, "drop")
        else:
            length = len(path) - 1 if error["type"] == "missing" else len(path)
            while length > 1 and not (levels[length].step or levels[length].free):
                length -= 1
            self.cut(path, levels, max(length, 1), "blank" if levels[length].step else "drop")

    def cut(self, path: DataPath, levels: list[_Level], length: int, action: Action, *, unknown: bool = False) -> None:
        """Note what becomes of the value at ``path[:length]``, and what of the entries around it is not known."""
        edit = self.edit(path[:length])
        if action == "rename":
            edit.renamed = True
        elif edit.action == "keep":
            edit.action = action
        if action == "blank":
            edit.vague = True
            return
        holder = levels[length - 1].model
        meant = _meant(holder, str(path[length - 1])) if unknown else key_of(str(path[length - 1]))
        if action == "drop" and meant is not None:
            self.edit(path[: length - 1]).lost = True
        if length == 1:
            self.section(str(path[0]), meant)
        elif length == 2 and action == "drop" and path[0] in ("secrets", "imports"):
            self.silent |= _OPEN[str(path[0])]
        for at in range(length - 1, 0, -1):
            model = levels[at].model
            if model is not None and (
                issubclass(model, (StepBase, ToolBase, AgentEntry, ModelEntry)) or model in _PARTS
            ):
                self.doubt(path, at, model, meant if at == length - 1 else str(path[at]))
                return

    def doubt(self, path: DataPath, at: int, model: type[Model], name: str | None) -> None:
        """An entry that lacks a field of that name, or one of any name: what is known of it."""
        alone = next((names.split() for kind, names in _ALONE if issubclass(model, kind)), [])
        if name not in alone and name != "":
            self.edit(path[:at]).vague = True

    def section(self, name: str, meant: str | None) -> None:
        """A part of the whole file that was not read: of one under another key, names are known by sight."""
        data = self.loaded.data.get(name)
        files = data if isinstance(data, list) else [data]
        if meant is None and any(str(one).endswith((".yaml", ".yml")) for one in cast("list[Any]", files)):
            meant = "imports"
        if meant in ("imports", name) or not (isinstance(data, dict) and data):
            self.silent |= _OPEN.get(meant or "", frozenset())

    def edit(self, path: DataPath) -> _Edit:
        found = self.root
        for part in path:
            found = found.inner.setdefault(part, _Edit())
        return found

    def made(self, node: Node, edit: _Edit, path: DataPath) -> Node:
        """The node with everything done to it. Paths are those of the new tree."""
        if edit.vague:
            self.vague.add(path)
        if edit.lost:
            self.lost.add(path)
        if edit.action == "blank":
            self.see(node.data, keys=True)
            return Mapping(node.source, node.start, node.end, node.flow, dict(_BLANK))
        if isinstance(node, Mapping):
            return self.mapping(node, edit, path)
        return self.sequence(node, edit, path) if isinstance(node, Sequence) else node

    def mapping(self, node: Mapping, edit: _Edit, path: DataPath) -> Mapping:
        new = Mapping(node.source, node.start, node.end, node.flow)
        for name, (key, value) in node.entries.items():
            inner = edit.inner.get(name)
            if inner is not None and inner.action == "drop":
                self.see({name: value.data})
                continue
            shown = name
            if inner is not None and inner.renamed:
                self.see({name: None})
                self.renamed += 1
                shown = f"{re.sub('[^a-z0-9_]', '_', f'x_{name[:80]}'.lower())}__{self.renamed}"
            made = value if inner is None else self.made(value, inner, (*path, shown))
            new.entries[shown] = (key, made)
            new.data[shown] = made.data
        return new

    def sequence(self, node: Sequence, edit: _Edit, path: DataPath) -> Sequence:
        new = Sequence(node.source, node.start, node.end, node.flow)
        for index, value in enumerate(node.items):
            inner = edit.inner.get(index)
            if inner is not None and inner.action == "drop":
                self.see(value.data)
                continue
            made = value if inner is None else self.made(value, inner, (*path, len(new.items)))
            new.items.append(made)
            new.data.append(made.data)
        return new

    def see(self, data: Any, *, keys: bool = False) -> None:
        """Names in what is not read; with ``keys`` no others than its keys."""
        waiting = [data]
        while waiting:
            match waiting.pop():
                case dict() as given:
                    for name, item in cast("dict[str, Any]", given).items():
                        self.word(name)
                        waiting.append(item)
                case list() as given:
                    waiting += cast("list[Any]", given)
                case str() as text if not keys and len(text) <= _LONGEST and _WORDS.fullmatch(text):
                    for word in re.split(r"[\s,]+", text):
                        self.word(word)
                case _:
                    pass

    def word(self, word: str) -> None:
        """A name; and what an expression would take for names in it."""
        self.names.add(word.removesuffix("?"))
        if "." not in word:
            self.names.update(re.findall(r"\w+", word))


def prune(loaded: Loaded, errors: list[Fault], before: Pruned | None = None, *, coarse: bool = False) -> Pruned:
    """The file without what the errors are about; ``before`` is what was left of it when they were found.

    ``coarse`` takes all of a mapping that breaks a rule about several of its fields.
    """
    given = before or Pruned(loaded, Doubts(), frozenset())
    doubts = given.doubts
    pruning = _Pruning(given.loaded, set(doubts.vague), set(given.lost), set(doubts.names), set(doubts.silent), coarse)
    for error in errors:
        pruning.take(error)
    root = cast("Mapping", pruning.made(given.loaded.root, pruning.root, ()))
    if root.data.get("version") != 1:
        root.data["version"] = 1
    if not root.data.get("steps"):
        root.data["steps"] = {"x": dict(_BLANK)}
        root.entries.pop("steps", None)
        pruning.silent.update(*_OPEN.values())
    found = Doubts(frozenset(pruning.vague), frozenset(pruning.names), frozenset(pruning.silent))
    return Pruned(replace(given.loaded, data=root.data, root=root), found, frozenset(pruning.lost))


def _meant(model: type[Model] | None, name: str) -> str | None:
    """The field that an unknown one is meant to be; None where it may be any, empty where it is of another kind."""
    assert model is not None
    close = did_you_mean(name, fields_of(model))
    if close is not None:
        return close
    for base, alias in ((StepBase, Step), (ToolBase, Tool)):
        if issubclass(model, base) and any(name in fields_of(member) for member in members_of(alias)):
            return ""
    return None


def _optional(model: type[Model] | None, name: str) -> bool:
    return model is not None and any(key_of(one) == name and one not in model.needed for one in model.known)


def _levels(where: tuple[Any, ...]) -> tuple[DataPath, list[_Level]]:
    """A location without its tags, and for the file and each value on the way what may become of it."""
    path: list[str | int] = []
    annotation: Any = Document
    levels = [_Level(model=Document)]
    for part in where:
        tag = str(part).startswith("\0")
        if not tag:
            model = levels[-1].model
            path.append(part)
            levels.append(_Level(free=_free(annotation, model, part)))
        known = levels[-2].model if not tag and len(levels) > 1 else None
        annotation = Any if known is not None and part not in fields_of(known) else _inside(annotation, part)
        last = levels[-1]
        last.step = last.step or _is_step(annotation)
        inner = bare(annotation)
        last.model = inner if isinstance(inner, type) and issubclass(inner, Model) else None
    return tuple(path), levels


def _inside(annotation: Any, part: Any) -> Any:
    return below(annotation, part) if get_args(bare(annotation)) or isinstance(bare(annotation), type) else Any


def _is_step(annotation: Any) -> bool:
    return any(isinstance(note, Named) and note.name == "Step" for note in getattr(annotation, "__metadata__", ()))


def _free(annotation: Any, model: type[Model] | None, part: Any) -> bool:
    """Whether a field, an entry or an item may go without making another problem."""
    if model is not None:
        return _optional(model, str(part))
    noted = any(isinstance(note, Bound) for note in getattr(annotation, "__metadata__", ()))
    return get_origin(bare(annotation)) in (dict, list) and not noted
