"""Events of a YAML parser -> nodes, within limits, with every problem that does not stop it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from orchestrator.frozen import slotted
from orchestrator.regex import regex
from orchestrator.spec.diagnostics import Diagnostic, Note, warning
from orchestrator.spec.nodes import Mapping, Scalar, Sequence
from orchestrator.spec.scalars import NotANumber, resolve

if TYPE_CHECKING:
    from orchestrator.spec.nodes import Node, Source

MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 64
MAX_ALIASES: Final = 100
MAX_PROBLEMS: Final = 1_000

_ANCHOR: Final = regex(r"&\S+\s+")
_TAG: Final = regex(r"!<[^>\s]*>|![^\s,\[\]{}]*")
_DIRECTIVE: Final = regex(r"^%.*$", re.MULTILINE)
_CUT: Final = regex(r"[ \t]+#[^\s!#=-]")
QUOTE: Final = "quote the text"


class OverLimit(Exception):  # noqa: N818 (it stops the reading, with its diagnostic)
    """The events are over a limit: nothing after this one is read."""


@slotted
class _Open:
    """A collection whose end has not come; ``under`` is the key that it stands under."""

    node: Mapping | Sequence
    under: str | None
    anchor: str | None
    key: Scalar | None = None
    skip: bool = False


class Builder:
    """Takes events one by one. ``root`` is the document's node, ``problems`` what is wrong with it."""

    def __init__(self, source: Source, problems: list[Diagnostic]) -> None:
        self.root: Node | None = None
        self._source = source
        self._problems = problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._nodes = self._expanded = self._aliases = 0
        self._document_seen = False

    def take(self, event: Any) -> None:
        """Add an event. Raises OverLimit where nothing may follow."""
        match type(event).__name__:
            case "ScalarEvent":
                self._count(event)
                self._add(self._scalar(event), event.anchor)
            case "MappingStartEvent":
                self._open(event, Mapping)
            case "SequenceStartEvent":
                self._open(event, Sequence)
            case "MappingEndEvent" | "SequenceEndEvent":
                self._close(event)
            case "AliasEvent":
                self._alias(event)
            case "DocumentStartEvent":
                self._document(event)
            case _:
                pass

    def _document(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        if self._document_seen:
            self._problem("E113", "a second document begins here", start, end, hint="a file holds one pipeline")
            raise OverLimit
        self._document_seen = True
        text = self._source.text
        line = _DIRECTIVE.search(text, 0, start) if event.explicit else None
        if line:
            self._problem("E112", "a directive", *line.span(), hint="YAML 1.2 is what is read: leave it out")

    def _count(self, event: Any, more: int = 1) -> None:
        self._nodes += 1
        self._expanded += more
        if self._nodes > MAX_NODES:
            self._over(f"the file has over {MAX_NODES:,} nodes", event)
        if self._expanded > MAX_NODES:
            self._over(f"aliases make over {MAX_NODES:,} nodes of the file", event)

    def _over(self, message: str, event: Any) -> None:
        start = event.start_mark.index
        self._problem("E116", message, start, max(start + 1, event.end_mark.index))
        raise OverLimit

    def tag(self, start: int) -> int:
        """Say that a tag begins at an offset; its length."""
        found = _TAG.match(self._source.text, start)
        span = found.span() if found else (start, start + 1)
        text = self._source.text[slice(*span)]
        if text.startswith(("!!", "!<")):
            self._problem("E111", f"the tag `{text[:80]}`", *span, hint="a pipeline is plain data: leave the tag out")
        else:
            self._problem("E103", f"YAML reads `{text[:80]}` as a tag", *span, hint=f"{QUOTE}: `'{text[:40]} …'`")
        return span[1] - span[0]

    def _scalar(self, event: Any) -> Scalar:
        start, end = event.start_mark.index, event.end_mark.index
        source, text, style = self._source, event.value, event.style or ""
        if event.anchor is not None:
            found = _ANCHOR.match(source.text, start)
            start = min(found.end(), end) if found else start
        data: Any = text
        if not style:
            try:
                data = resolve(text)
            except NotANumber as error:
                self._problem(error.code, error.message, start, end, hint="quote it where text is meant")
        elif style == '"':
            data = text = self._unescaped(text, start, end)
        return Scalar(source, start, end, data, text, style, self._in_flow())

    def _unescaped(self, text: str, start: int, end: int) -> str:
        """Text of a quoted scalar, whose escapes may have made what no text may hold."""
        if text.isascii() and "\0" not in text:
            return text
        try:
            joined = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._problem(
                "E118", "half of a surrogate pair", start, end, hint="write the character itself, or both halves"
            )
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if "\0" in joined:
            self._problem("E118", "a NUL character", start, end, hint="no store can hold it")
        return joined

    def _in_flow(self) -> bool:
        return bool(self._stack) and self._stack[-1].node.flow

    def _open(self, event: Any, kind: type[Mapping | Sequence]) -> None:
        self._count(event)
        start, end = event.start_mark.index, event.end_mark.index
        if len(self._stack) >= MAX_DEPTH:
            self._over(f"nested over {MAX_DEPTH} deep", event)
        skip = self._at_key()
        key = self._stack[-1].key if self._stack else None
        if skip:
            inner = "{" if kind is Mapping else "["
            hint = f"{QUOTE}: `'${{{{ … }}}}'`" if inner == "{" else QUOTE
            self._problem("E114", "a key is a mapping or a list", start, max(end, start + 1), hint=hint)
        node = kind(self._source, start, end, bool(event.flow_style))
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(node, key.text if key else None, event.anchor, skip=skip))

    def _close(self, event: Any) -> None:
        ended = self._stack.pop()
        ended.node.end = event.end_mark.index
        if ended.skip:
            self._stack[-1].key = self._no_key(ended.node.start, ended.node.end)
        else:
            self._add(ended.node, ended.anchor)

    def _alias(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._over(f"over {MAX_ALIASES} aliases", event)
        node = self._anchors.get(event.anchor)
        if node is None:
            inside = event.anchor in self._anchors
            message = (
                f"`*{event.anchor}` stands inside of what it stands for" if inside else f"no anchor `&{event.anchor}`"
            )
            self._problem("E117", message, start, end, hint=f"{QUOTE} where `*` is meant")
            node = Scalar(self._source, start, end, None, f"*{event.anchor}", "", self._in_flow())
        self._count(event, node.size)
        if len(self._stack) + node.height - 1 > MAX_DEPTH:
            self._over(f"nested over {MAX_DEPTH} deep by an alias", event)
        if not isinstance(node, Scalar) and self._at_key():
            self._problem("E114", "a key is a mapping or a list", start, end, hint=f"{QUOTE} where `*` is meant")
            node = self._no_key(start, end)
        self._add(node, None)

    def _at_key(self) -> bool:
        """Whether what comes next is a key."""
        return bool(self._stack) and isinstance(self._stack[-1].node, Mapping) and self._stack[-1].key is None

    def _no_key(self, start: int, end: int) -> Scalar:
        """What stands for a key that is none: the entry is left out."""
        return Scalar(self._source, start, end, "", f"\0{start}", '"', flow=True)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self.root = self.root or node
            return
        top = self._stack[-1]
        parent = top.node
        if isinstance(parent, Sequence):
            parent.items.append(node)
            parent.data.append(node.data)
            self._cut(node)
        elif top.key is None:
            assert isinstance(node, Scalar)
            top.key = self._key(node, top.under)
            return
        else:
            self._entry(parent, top.key, node)
            top.key = None
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)

    def _entry(self, parent: Mapping, key: Scalar, node: Node) -> None:
        name = key.text
        if name in parent.entries:
            first = parent.entries[name][0]
            note = Note("it stands here first", self._source.mark(first.start, first.end))
            self._problem("E110", f"the key `{name[:80]}` stands twice", key.start, key.end, notes=(note,))
            return
        if name.startswith("\0"):
            return
        parent.entries[name] = (key, node)
        parent.data[name] = node.data
        if parent.flow and node.data is None and ":" not in self._source.text[key.end : max(node.start, key.end)]:
            message = f"`{name[:80]}` has no value: in `{{…}}` a comma ends a text"
            self._problem("E103", message, key.start, key.end, hint=QUOTE)
        self._cut(node)

    def _key(self, node: Scalar, under: str | None) -> Scalar:
        if node.text == "<<" and not node.style:
            hint = "write the fields out, or use `imports`"
            self._problem("E115", "merge keys are not of YAML 1.2", node.start, node.end, hint=hint)
        elif not isinstance(node.data, str) and (under != "cases" or node.data is None):
            shown = f"`{node.text[:80]}`" if node.text else "an empty key"
            self._problem("E114", f"{shown} is not text", node.start, max(node.end, node.start + 1), hint="quote it")
        return node

    def _cut(self, node: Node) -> None:
        """Say where a comment ends a plain text that hardly wanted to end there."""
        if not isinstance(node, Scalar) or node.style or not isinstance(node.data, str):
            return
        if " " in node.text and _CUT.match(node.source.text, node.end):
            end = node.end + len(node.source.rest_of_line(node.end))
            message = "YAML reads what follows ` #` as a comment"
            if node.text.count("${{") > node.text.count("}}"):
                self._problem("E103", message, node.end, end, hint=QUOTE)
            else:
                mark = node.source.mark(node.end, end)
                self._say(warning("W501", message, mark, hint=f"{QUOTE}, or give the comment a line of its own"))

    def _problem(
        self, code: str, message: str, start: int, end: int, *, hint: str | None = None, notes: tuple[Note, ...] = ()
    ) -> None:
        if any(one.skip for one in self._stack):  # what is wrong inside a key that is wrong itself says nothing
            return
        self._say(Diagnostic(code, message, self._source.mark(start, end), hint, notes))

    def _say(self, diagnostic: Diagnostic) -> None:
        if len(self._problems) >= MAX_PROBLEMS:
            message = f"over {MAX_PROBLEMS:,} problems: the rest of the file was not read"
            self._problems.append(Diagnostic("E116", message, diagnostic.mark))
            raise OverLimit
        self._problems.append(diagnostic)
