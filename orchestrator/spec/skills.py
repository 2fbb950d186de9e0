"""Skills of agents: folders with a ``SKILL.md``, read when the file that names them is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.frozen import frozen
from orchestrator.regex import regex
from orchestrator.spec.agents import AgentEntry
from orchestrator.spec.diagnostics import Diagnostic
from orchestrator.spec.load import compose, read_part, reason
from orchestrator.spec.nodes import Mapping, Scalar, Skill, Source, find, mark_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.spec.load import Loaded
    from orchestrator.spec.model import Model

MAX_SKILLS: Final = 100
"""In one folder of skills."""

MAX_BYTES: Final = 65_536
"""Of a ``SKILL.md``: an agent reads it whole."""

MAX_FILES: Final = 1_000
MAX_DEPTH: Final = 8
MAX_DESCRIPTION: Final = 1_024
FILE: Final = "SKILL.md"
_NAME: Final = regex(r"[a-z0-9][a-z0-9_-]{0,63}")
_FRONT: Final = regex(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


@frozen
class _Found:
    """The skills at a path of the disk, and what is wrong with them: with the path, and inside of the files."""

    skills: tuple[Skill, ...]
    problem: tuple[str, str] | None
    inside: tuple[Diagnostic, ...] = ()


def read_skills(models: Iterable[Model], loaded: Loaded) -> list[Diagnostic]:
    """Read each skill that agents name, once, into ``loaded.skills``; and what is wrong with any."""
    problems: list[Diagnostic] = []
    known: dict[Path, _Found] = {}
    for model in models:
        if not isinstance(model, AgentEntry):
            continue
        for index, named in enumerate(model.skills or ()):
            path = (*model.at, "skills", index)
            folder = (loaded.folder_of(path) / named).absolute()
            if folder not in known:
                near = Path(find(loaded.root, path)[1].source.name).parent
                known[folder] = _read(folder, Path(os.path.normpath(near / named)), loaded)
                problems += known[folder].inside
            found = known[folder]
            loaded.skills[path] = found.skills
            if found.problem is not None:
                code, said = found.problem
                problems.append(Diagnostic(code, f"`{named[:200]}` {said}", loaded.mark(path)))
    return problems


def _read(folder: Path, shown: Path, loaded: Loaded) -> _Found:
    """``shown`` is what diagnostics call the folder."""
    try:
        places = _places(folder)
    except OSError as error:
        return _Found((), ("E122", f"cannot be read: {reason(error)}"))
    if not places:
        return _Found((), ("E122", f"holds no {FILE}, and no folder that does"))
    if len(places) > MAX_SKILLS:
        return _Found((), ("E116", f"holds over {MAX_SKILLS} skills"))
    skills: list[Skill] = []
    inside: list[Diagnostic] = []
    for place in places:
        try:
            text, digest = read_part(place / FILE)
            files = _files(place)
        except (OSError, ValueError) as error:
            inner = (place / FILE).relative_to(folder)
            return _Found((), ("E122", f"cannot be read: {inner}: {reason(error)}"), tuple(inside))
        name = str(shown / (place / FILE).relative_to(folder))
        loaded.sources[str(place / FILE)] = digest
        loaded.texts[name] = text
        skill = _skill(Source(name, text, place), files, inside)
        skills += [] if skill is None else [skill]
    return _Found(tuple(skills), None, tuple(inside))


def _places(folder: Path) -> list[Path]:
    """The folders of skills: this one, else those in it that are not hidden."""
    if (folder / FILE).exists():
        return [folder]
    return sorted(place for place in folder.iterdir() if not place.name.startswith(".") and (place / FILE).exists())


def _files(folder: Path) -> tuple[str, ...]:
    """The other files of a skill, by relative path. Nothing hidden, and no folder that is a link."""
    found: list[str] = []
    for here, folders, names in os.walk(folder):
        inner = Path(here).relative_to(folder)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        if len(inner.parts) >= MAX_DEPTH:
            folders.clear()
        found += ((inner / name).as_posix() for name in sorted(names) if not name.startswith("."))
        if len(found) > MAX_FILES:
            raise ValueError(f"over {MAX_FILES:,} files beside it")
    return tuple(sorted(name for name in found if name != FILE))


def _skill(source: Source, files: tuple[str, ...], problems: list[Diagnostic]) -> Skill | None:
    """One skill; None where something is wrong with it, which is said."""
    text = source.text
    front = _FRONT.match(text)
    start = source.mark(0, min(3, len(text)))
    if front is None:
        hint = "it begins with `name` and `description` between two lines `---`"
        problems.append(Diagnostic("E105", f"{FILE} has no front matter", start, hint))
        return None
    if len(text.encode()) > MAX_BYTES:
        problems.append(Diagnostic("E116", f"{FILE} is over {MAX_BYTES:,} bytes", start))
        return None
    # The lines before and behind are blank, so that each line has its number.
    before = len(problems)
    root, _ = compose(Source(source.name, "\n" + front[1], source.folder), problems)
    if len(problems) > before:
        return None
    if not isinstance(root, Mapping):
        problems.append(
            Diagnostic("E106", "the front matter is no mapping", start, "write `name: …`, `description: …`")
        )
        return None
    name = _text(root, "name", source, problems)
    description = _text(root, "description", source, problems)
    if name is not None and not _NAME.fullmatch(name.text):
        rule = "small letters, digits, `-` and `_`, at most 64"
        problems.append(Diagnostic("E108", f"`{name.text[:80]}` is not a name: {rule}", mark_of(name)))
        name = None
    if description is not None and len(description.text) > MAX_DESCRIPTION:
        message = f"the description has over {MAX_DESCRIPTION:,} characters"
        problems.append(Diagnostic("E116", message, mark_of(description)))
        description = None
    if name is None or description is None:
        return None
    return Skill(name.data, description.data.strip(), text[front.end() :].lstrip("\r\n"), files)


def _text(root: Mapping, key: str, source: Source, problems: list[Diagnostic]) -> Scalar | None:
    """A text of the front matter that must be there; other keys mean something to others."""
    if key not in root.entries:
        problems.append(Diagnostic("E105", f"`{key}` is missing", source.mark(0, 3)))
        return None
    node = root.entries[key][1]
    if isinstance(node, Scalar) and isinstance(node.data, str) and node.data.strip():
        return node
    problems.append(Diagnostic("E106", f"`{key}` must be text", mark_of(node)))
    return None
