"""Values of secrets: from the variable ``NAME``, else from the file that ``NAME_FILE`` names, as for containers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.errors import Exit, OrchError
from orchestrator.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.graph.nodes import SecretDef

_LARGEST = 64 * 1024
_taken_up: dict[str, str] = {}


@frozen
class Missing:
    """A secret without a value: ``name`` is the variable to set, ``why`` what is wrong with what is set, if it is."""

    name: str
    why: str = ""


class SecretsMissing(OrchError):
    """Secrets or keys that a run needs have no value."""

    code: ClassVar[str] = "E450"
    exit: ClassVar[Exit] = Exit.NO_KEY

    def __init__(self, missing: Iterable[Missing]) -> None:
        found = list(missing)
        names = [one.name for one in found]
        whys = "; ".join(one.why for one in found if one.why)
        what = "a secret is" if len(names) == 1 else "secrets are"
        super().__init__(
            f"{what} missing: {', '.join(names)}" + (f" ({whys})" if whys else ""),
            hint=f"set {' and '.join(names)}, or {names[0]}_FILE to the path of a file that holds the value",
        )
        self.missing = found


def secret_value(name: str, environ: Mapping[str, str] | None = None) -> str | Missing:
    """The value of a secret without its last newline; an empty variable counts as not set."""
    found = _read(name, os.environ if environ is None else environ)
    if environ is None and isinstance(found, str):
        _taken_up[name] = found
    return found


def _read(name: str, env: Mapping[str, str]) -> str | Missing:
    if env.get(name):
        return env[name]
    path = env.get(f"{name}_FILE")
    if not path:
        return Missing(name)
    try:
        with Path(path).open("rb") as file:
            body = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        return Missing(name, f"{name}_FILE cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(body) > _LARGEST:
        return Missing(name, f"{name}_FILE is over 64 KiB")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Missing(name, f"{name}_FILE is not UTF-8 text")
    return text.rstrip("\r\n") or Missing(name, f"{name}_FILE is empty")


def without_secrets(text: str) -> str:
    """``text`` without the values that this process has taken up, for what is written when nobody holds them."""
    from orchestrator.tools.redact import Redactor

    return Redactor(_taken_up).text(text)


def resolve_secrets(declared: Iterable[SecretDef], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values of all declared secrets that have one. Raises ``SecretsMissing`` for the others but optional ones."""
    values: dict[str, str] = {}
    missing: list[Missing] = []
    for secret in declared:
        found = secret_value(secret.name, environ)
        if isinstance(found, str):
            values[secret.name] = found
        elif not secret.optional or found.why:
            missing.append(found)
    if missing:
        raise SecretsMissing(missing)
    return values
