"""Numbered migrations. Once released, a file here never changes: its checksum stands in every database it made."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from orchestrator.frozen import frozen
from orchestrator.ids import digest_text

_NAMES = ("0001_initial", "0002_memory")
LATEST = len(_NAMES)


@frozen
class Migration:
    """One step of the schema. ``template`` is SQL in the words of ``Statements.render``."""

    version: int
    name: str
    template: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the template, so that it is the same for every prefix and dialect."""
        return digest_text(self.template)


@cache
def all_migrations() -> tuple[Migration, ...]:
    """Every migration, oldest first."""
    folder = Path(__file__).parent
    return tuple(
        Migration(version, name, (folder / f"{name}.sql").read_text("utf-8")) for version, name in enumerate(_NAMES, 1)
    )
