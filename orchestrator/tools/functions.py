"""Finding the function that ``python: "pkg.mod:function"`` names.

It is sought in the environment, then in the folder of the file that names it. A module of a folder is imported under a
private name, so that two folders may each have a ``tools.py``; while it is imported its folder stands on ``sys.path``,
so that it can import its neighbours at its top, and afterwards ``sys.path`` is what it was.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
import types
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchError
from orchestrator.frozen import slotted
from orchestrator.ids import digest_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STILL = 1.0
"""Seconds for which a module is taken to be what it was when its file was last looked at: steps that follow one another
need not ask again, and whoever edits a file while a run goes on cannot tell."""

_lock = threading.RLock()
_loaded: dict[tuple[str, str], _Loaded] = {}


class NoFunction(OrchError):
    """A reference that names nothing that can be called."""

    code = "E610"

    def __init__(self, ref: str, why: str) -> None:
        super().__init__(
            f"{ref}: {why}", hint="write it as pkg.mod:function, found where Python runs or beside the file"
        )
        self.ref = ref


@slotted
class _Loaded:
    stamp: tuple[int, int]
    module: types.ModuleType
    looked: float

    def unchanged(self) -> bool:
        """Whether the file of the module is what it was."""
        now = time.monotonic()
        if now - self.looked < STILL:
            return True
        self.looked = now
        return _stamp(Path(self.module.__file__ or "")) == self.stamp


@lru_cache(256)
def split_ref(ref: str) -> tuple[str, str]:
    """Module and name of ``pkg.mod:function``. NoFunction where it is not of that form."""
    module, colon, name = ref.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise NoFunction(ref, "is not of the form pkg.mod:function")
    return module, name


def module_file(folder: Path, module: str) -> Path | None:
    """Where ``folder`` has the source of ``module``, or None."""
    base = folder.joinpath(*module.split("."))
    for file in (base.with_name(base.name + ".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def cached_function(ref: str, search: Sequence[str]) -> Callable[..., Any] | None:
    """The function if its module is loaded and unchanged, else None. Quick: no import, at most one stat a second."""
    module, name = split_ref(ref)
    known = sys.modules.get(module)
    if known is not None:
        found = _attribute(known, name)
        if found is not None:
            return found
    for folder in search:
        loaded = _loaded.get((folder, module))
        if loaded is not None:
            return _attribute(loaded.module, name) if loaded.unchanged() else None
    return None


def find_function(ref: str, search: Sequence[str]) -> Callable[..., Any]:
    """The function that ``ref`` names; imports its module where needed, which runs user code.

    Raises NoFunction, or whatever the module raises while it is imported.
    """
    module, name = split_ref(ref)
    missing = f"no module {module!r} in the environment or in {', '.join(map(str, search)) or 'a folder'}"
    with _lock:
        imported = _from_environment(module)
        found = _attribute(imported, name) if imported else None
        if imported is not None:
            missing = f"module {module!r} has no function {name!r}"
        for folder in search:
            if found is not None:
                break
            file = module_file(Path(folder), module)
            if file is not None:
                missing = f"{file} has no function {name!r}"
                found = _attribute(_from_folder(folder, module, file), name)
    if found is None:
        raise NoFunction(ref, missing)
    if not callable(found):
        raise NoFunction(ref, f"{name} is no function")
    return found


def _from_environment(module: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Missing is the module itself or a package that it would be in; what it fails to import is its own error.
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            return None
        raise


def _from_folder(folder: str, module: str, file: Path) -> types.ModuleType:
    key, stamp = (folder, module), _stamp(file)
    loaded = _loaded.get(key)
    if loaded is not None and loaded.stamp == stamp:
        return loaded.module
    root = f"_orch_{digest_text(folder)[:16]}"
    if loaded is not None:
        _forget(root)
    package = sys.modules.get(root)
    if package is None:
        package = types.ModuleType(root, f"The modules of {folder}.")
        package.__path__ = [folder]
        sys.modules[root] = package
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        importlib.invalidate_caches()
        imported = importlib.import_module(f"{root}.{module}")
    finally:
        sys.path.remove(folder)
        _make_private(root, Path(folder), set(sys.modules) - before)
    _loaded[key] = _Loaded(stamp, imported, time.monotonic())
    return imported


def _make_private(root: str, folder: Path, names: set[str]) -> None:
    """Take neighbours that were imported by their plain names out of everybody's sight."""
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if not name.startswith(root) and file and folder in Path(file).parents and "site-packages" not in file:
            sys.modules[f"{root}:{name}"] = sys.modules.pop(name)


def _forget(root: str) -> None:
    for name in [name for name in sys.modules if name.startswith(root)]:
        del sys.modules[name]
    for key in [key for key in _loaded if root == f"_orch_{digest_text(key[0])[:16]}"]:
        del _loaded[key]


def _stamp(file: Path) -> tuple[int, int]:
    try:
        state = file.stat()
    except OSError:
        return (0, 0)
    return (state.st_mtime_ns, state.st_size)


def _attribute(module: types.ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
