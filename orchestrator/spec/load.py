"""Reading a pipeline file: bytes -> nodes with marks. The only user of ruamel, in ``spec`` the only reader of files.

Limits are counted on the parser's events, and reading stops where one is met; all other problems of a file are found in
one pass. Any bytes at all give diagnostics.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.frozen import field, frozen
from orchestrator.regex import regex
from orchestrator.spec.builder import QUOTE, Builder, OverLimit
from orchestrator.spec.diagnostics import Diagnostic, Mark, Note, SpecErrors, has_errors
from orchestrator.spec.nodes import DataPath, Mapping, Scalar, Source, find, mark_in, mark_of

if TYPE_CHECKING:
    from orchestrator.spec.nodes import Node, Skill

MAX_BYTES: Final = 1_048_576
# A scanner in Python takes its time by line and by word: within the bytes allowed, these make it a second.
MAX_LINES: Final = 60_000
MAX_WORDS: Final = 250_000
MERGED: Final = ("models", "tools", "agents", "types", "pipelines")

_TEXT_AND_COLON: Final = regex(r"""\s*(?:-\s+)*[\w.-]+:[ \t]+(?P<text>[^\s#|>&!].*)$""")
_CLOSED_EARLY: Final = regex(r"""(?:^|[:,\[{-])\s*(?:'[^']*'|"[^"]*"|\[[^\]]*\]|\{[^}]*\})\s*$""")


@frozen
class Loaded:
    """A file's data, with the place of each key and value of it, and of what it imports.

    ``data`` is plain and must not be changed. Paths are tuples of keys and indices into it. ``sources`` maps the path
    of every file that was read to the SHA-256 of its bytes, as hex; ``texts`` the names that marks use to what
    diagnostics show; ``parts`` the path of each ``{file: …}`` and ``{template: …}`` to the text of that file;
    ``skills`` the path of each entry of a ``skills`` to the skills that are there.
    """

    file: str
    data: dict[str, Any]
    root: Mapping
    folder: Path
    texts: dict[str, str] = field(default_factory=dict[Any, Any])
    sources: dict[str, str] = field(default_factory=dict[Any, Any])
    parts: dict[DataPath, str] = field(default_factory=dict[Any, Any])
    skills: dict[DataPath, tuple[Skill, ...]] = field(default_factory=dict[Any, Any])
    warnings: list[Diagnostic] = field(default_factory=list[Any])

    def mark(self, path: DataPath) -> Mark:
        """The place of a value; of the nearest thing around it, where the path leads to nothing."""
        _, node, _ = find(self.root, path)
        return mark_of(node) if node is not self.root else self.root.source.mark(self.root.start, self.root.start + 1)

    def key_mark(self, path: DataPath) -> Mark:
        """The place of a key; of the item, in a list; of the nearest key around it, where the path leads to nothing."""
        for length in range(len(path), 0, -1):
            key, node, found = find(self.root, path[:length])
            if found == length:
                return mark_of(key if key is not None else node)
        return self.mark(())

    def mark_in(self, path: DataPath, start: int, end: int) -> Mark:
        """The place of ``text[start:end]`` of a scalar; its beginning, where escapes or folds hide that."""
        _, node, found = find(self.root, path)
        if found < len(path) or not isinstance(node, Scalar):
            return self.mark(path)
        return mark_in(node, start, end)

    def folder_of(self, path: DataPath) -> Path:
        """The folder of the file that holds a value: what its paths resolve against."""
        return find(self.root, path)[1].source.folder

    def quoting_hint(self, path: DataPath) -> str | None:
        """What to do where YAML may have cut a plain text short: at ` #`, or at a comma or bracket in a flow node."""
        _, node, found = find(self.root, path)
        if found < len(path) or not isinstance(node, Scalar) or node.style:
            return None
        rest = node.source.rest_of_line(node.end)
        if re.match(r"[ \t]+#", rest):
            return f"YAML reads what follows ` #` as a comment: {QUOTE}"
        if node.flow and re.match(r"\s*[,\[\]{}]", rest):
            return f"in `{{…}}` and `[…]` a comma or bracket ends a text: {QUOTE}"
        return None


def load(source: str | os.PathLike[str] | bytes, *, name: str | None = None, folder: Path | None = None) -> Loaded:
    """Read a file, ``-`` for standard input, or bytes; and what it imports.

    ``name`` is what diagnostics call it, by default the path as given; ``folder`` what its paths resolve against, by
    default its own, and the working directory for input and bytes. Raises SpecErrors with every problem of one pass.
    """
    problems: list[Diagnostic] = []
    texts: dict[str, str] = {}
    hashes: dict[str, str] = {}
    main = _open(source, name, folder, problems, hashes)
    root: Mapping | None = None
    if main is not None:
        texts[main.name] = main.text
        root = _mapping(main, problems)
        if root is not None:
            root = _with_imports(root, problems, texts, hashes)
    if root is None or has_errors(problems):
        raise SpecErrors(problems, texts=texts)
    return Loaded(root.source.name, root.data, root, root.source.folder, texts, hashes, warnings=problems)


def read_part(path: Path) -> tuple[str, str]:
    """The text of a file that a spec names, and the SHA-256 of its bytes.

    Raises OSError where it cannot be read, ValueError where it is too large, no file, or not UTF-8.
    """
    body = _read(path, regular=True)
    if len(body) > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES:,} bytes")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    if "\0" in text:
        raise ValueError("not text: it holds NUL")
    return text, hashlib.sha256(body).hexdigest()


def _read(path: Path, *, regular: bool) -> bytes:
    """At most one byte more than a file may have."""
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise ValueError("a folder")
    if regular and not stat.S_ISREG(kind):
        raise ValueError("not a file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _open(
    source: str | os.PathLike[str] | bytes,
    name: str | None,
    folder: Path | None,
    problems: list[Diagnostic],
    hashes: dict[str, str],
) -> Source | None:
    if isinstance(source, bytes):
        return _decoded(source, name or "<bytes>", folder or Path.cwd(), problems)
    if os.fspath(source) == "-":
        body = sys.stdin.buffer.read(MAX_BYTES + 1)
        return _decoded(body, name or "<stdin>", folder or Path.cwd(), problems)
    path = Path(source)
    shown = name or os.fspath(source)
    try:
        body = _read(path, regular=False)
    except (OSError, ValueError) as error:
        problems.append(Diagnostic("E122", f"`{shown}` cannot be read: {reason(error)}"))
        return None
    hashes[str(path.absolute())] = hashlib.sha256(body).hexdigest()
    return _decoded(body, shown, folder or path.absolute().parent, problems)


def reason(error: OSError | ValueError) -> str:
    """Why a file cannot be read, in words."""
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)


def _decoded(body: bytes, name: str, folder: Path, problems: list[Diagnostic]) -> Source | None:
    if len(body) > MAX_BYTES:
        problems.append(Diagnostic("E116", f"the file is over {MAX_BYTES:,} bytes", Mark(name, 1, 1, 1, 1)))
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        before = Source(name, body[: error.start].decode(), folder)
        mark = before.mark(len(before.text), len(before.text))
        wide = body.startswith((b"\xff\xfe", b"\xfe\xff"))
        problems.append(Diagnostic("E101", "the file is not UTF-8 text", mark, "save it as UTF-8" if wide else None))
        return None
    source = Source(name, text.removeprefix("\ufeff"), folder)
    if len(body) > MAX_LINES and (source.lines > MAX_LINES or len(text.split()) > MAX_WORDS):
        what = f"{MAX_LINES:,} lines" if source.lines > MAX_LINES else f"{MAX_WORDS:,} words"
        problems.append(Diagnostic("E116", f"the file has over {what}", Mark(name, 1, 1, 1, 1)))
        return None
    return source


def _mapping(source: Source, problems: list[Diagnostic]) -> Mapping | None:
    """The document of a source, where it is a mapping."""
    root, whole = compose(source, problems)
    if isinstance(root, Mapping):
        return root
    if root is None or (isinstance(root, Scalar) and root.data is None):
        if whole:
            mark = source.mark(0, 0)
            problems.append(Diagnostic("E119", "the file is empty", mark, "a pipeline has `version: 1` and `steps`"))
    else:
        found = "a list" if not isinstance(root, Scalar) else "a single value"
        hint = "a pipeline is a mapping: `version: 1`, `steps: …`"
        problems.append(Diagnostic("E106", f"the file holds {found}", mark_of(root), hint))
    return None


def compose(source: Source, problems: list[Diagnostic]) -> tuple[Node | None, bool]:
    """The node of the one document, and whether reading came to its end."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError
    from ruamel.yaml.scanner import Scanner

    builder = Builder(source, problems)
    take = builder.take

    class Tagless(Scanner):
        """Steps over tags: none is allowed, and ruamel takes quadratic time for long ones."""

        def fetch_tag(self) -> None:
            self.reader.forward(builder.tag(self.reader.index))

        def need_more_tokens(
            self,
        ) -> bool:  # as ruamel's, without two calls for nothing, which take a sixth of its time
            if self.done or not self.tokens:
                return not self.done
            if not self.possible_simple_keys:
                return False
            self.stale_possible_simple_keys()
            return self.next_possible_simple_key() == self.tokens_taken

    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = Tagless
    try:
        for event in yaml.parse(source.text):
            take(event)
    except OverLimit:
        return builder.root, False
    except ReaderError as error:
        at = int(error.position)
        message = f"the character U+{ord(source.text[at]):04X}"
        problems.append(Diagnostic("E118", message, source.mark(at, at + 1), "write it as an escape in double quotes"))
        return None, False
    except MarkedYAMLError as error:
        problem = _syntax(source, error)
        if not (problems and _one_cause(problems[-1], problem)):
            problems.append(problem)
        return None, False
    except Exception as error:  # noqa: BLE001 (the parser is another's, and whatever it raises is a fault of the text)
        problems.append(Diagnostic("E102", f"this is not YAML: {error}"[:200], source.mark(0, 0)))
        return None, False
    return builder.root, True


def _one_cause(before: Diagnostic, after: Diagnostic) -> bool:
    """Whether what stops a line was said already: ``*bold* text`` is an alias, and then a fault."""
    same_line = before.mark and after.mark and before.mark.line == after.mark.line
    return bool(same_line) and before.code in ("E103", "E117")


def _syntax(source: Source, error: Any) -> Diagnostic:
    """One diagnostic of a parser's error: E103 where the text would do if it were quoted."""
    mark = error.problem_mark or error.context_mark
    at = min(mark.index, len(source.text)) if mark is not None else 0
    problem = str(error.problem or error.context or "not YAML").strip()
    place = source.mark(at, at + 1)
    line = source.text[source.line_start(at) : at]
    context = f"{error.context} " if error.context else ""
    notes: tuple[Note, ...] = ()
    if error.context_mark is not None and error.context_mark.index != at:
        begin = error.context_mark.index
        notes = (Note(str(error.context or "it begins here"), source.mark(begin, begin + 1)),)
    early = _quote_hint(problem, context, line, source, at)
    if early:
        return Diagnostic("E103", early[0], place, early[1], notes)
    hint = "check the indentation" if "mapping values" in problem or "block" in context else None
    return Diagnostic("E102", f"this is not YAML: {_plain(problem)}", place, hint, notes)


def _quote_hint(problem: str, context: str, line: str, source: Source, at: int) -> tuple[str, str] | None:
    if problem.startswith("mapping values"):
        if _TEXT_AND_COLON.match(line):
            return "YAML reads `: ` as the end of a key", QUOTE
        return None
    if "cannot start any token" in problem:
        char = source.text[at : at + 1]
        return (f"no plain text begins with `{char}`", QUOTE) if char not in "\t" else None
    if _CLOSED_EARLY.search(line) and "block" in context:
        return "a leading quote or bracket ends before the text does", f"{QUOTE} as a whole"
    if "flow" in context and "${{" in source.text[source.line_start(at) : at + 8]:
        return "in `{…}` and `[…]` a bracket ends a text", f"{QUOTE}: `'${{{{ … }}}}'`"
    return None


def _plain(problem: str) -> str:
    """A parser's words, without the marks that it puts around names."""
    return problem.replace("'<", "`").replace(">'", "`").replace("\n", " ")[:160]


def _with_imports(root: Mapping, problems: list[Diagnostic], texts: dict[str, str], hashes: dict[str, str]) -> Mapping:
    """The document with what its imports hold. Each merged node keeps the source that it came from."""
    entry = root.entries.get("imports")
    if entry is None or isinstance(entry[1], Scalar | Mapping):
        return root
    merged = Mapping(root.source, root.start, root.end, root.flow, dict(root.data), dict(root.entries))
    for item in entry[1].items:
        if isinstance(item, Scalar) and isinstance(item.data, str) and "${{" not in item.data:
            imported = _imported(item, problems, texts, hashes)
            if imported is not None:
                _merge(merged, imported, problems)
    return merged


def _imported(
    item: Scalar, problems: list[Diagnostic], texts: dict[str, str], hashes: dict[str, str]
) -> Mapping | None:
    named = Path(item.data)
    path = item.source.folder / named
    shown = os.path.normpath(Path(item.source.name).parent / named)
    try:
        body = _read(path, regular=True)
    except (OSError, ValueError) as error:
        problems.append(Diagnostic("E122", f"`{item.data}` cannot be read: {reason(error)}", mark_of(item)))
        return None
    hashes[str(path.absolute())] = hashlib.sha256(body).hexdigest()
    source = _decoded(body, shown, path.absolute().parent, problems)
    if source is None:
        return None
    texts[source.name] = source.text
    node = _mapping(source, problems)
    if node is None:
        return None
    _check_imported(node, problems)
    return node


def _check_imported(node: Mapping, problems: list[Diagnostic]) -> None:
    """An imported file holds ``version`` and merged keys, and nothing else."""
    if "version" not in node.entries:
        mark = node.source.mark(node.start, node.start + 1)
        problems.append(Diagnostic("E105", "`version` is missing in an imported file", mark, "write `version: 1`"))
    elif type(node.data["version"]) is not int or node.data["version"] != 1:
        problems.append(Diagnostic("E107", "`version` must be 1", mark_of(node.entries["version"][1])))
    for name, (key, value) in node.entries.items():
        if name in MERGED:
            if not isinstance(value, Mapping):
                problems.append(Diagnostic("E106", f"`{name}` must be a mapping", mark_of(key)))
        elif name != "version":
            hint = f"it holds `version` and {', '.join(f'`{one}`' for one in MERGED)}"
            problems.append(Diagnostic("E124", f"`{name}` may not stand in an imported file", mark_of(key), hint))


def _merge(merged: Mapping, imported: Mapping, problems: list[Diagnostic]) -> None:
    for section in MERGED:
        if section not in imported.entries:
            continue
        key, theirs = imported.entries[section]
        if not isinstance(theirs, Mapping):
            continue
        if section not in merged.entries:
            merged.entries[section] = (key, theirs)
            merged.data[section] = theirs.data
            continue
        key, ours = merged.entries[section]
        if not isinstance(ours, Mapping):
            continue
        both = Mapping(ours.source, ours.start, ours.end, ours.flow, dict(ours.data), dict(ours.entries))
        for name, (their_key, value) in theirs.entries.items():
            if name in both.entries:
                note = Note("it stands here first", mark_of(both.entries[name][0]))
                message = f"`{name}` of `{section}` is imported, and stands elsewhere too"
                problems.append(Diagnostic("E123", message, mark_of(their_key), "rename one of them", (note,)))
                continue
            both.entries[name] = (their_key, value)
            both.data[name] = value.data
        merged.entries[section] = (key, both)
        merged.data[section] = both.data
