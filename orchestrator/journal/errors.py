"""What can go wrong between a driver and its journal, one class per situation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from orchestrator.clock import rfc3339
from orchestrator.errors import Exit, OrchError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Conflict(Exception):
    """A commit met a row or a head that it did not expect; nothing of it was kept. Settle each slice by itself."""


class Unknown(Exception):
    """The end of a commit is not known: it may have been kept, and may yet be. Settle each slice by itself."""


# --- runs ---------------------------------------------------------------------------------------------------------


class NoSuchRun(OrchError):
    """No run has this id."""

    code = "E301"
    exit: ClassVar[Exit] = Exit.NOT_FOUND

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}", hint="`orch list` shows the runs of a store")
        self.run_id = run_id


class RunEnded(OrchError):
    """The run is over: it takes no claim without an explicit resume, and no message."""

    code = "E303"

    def __init__(self, run_id: str, *, status: str) -> None:
        super().__init__(f"run {run_id} has ended: {status}")
        self.run_id = run_id
        self.status = status


class NoProgress(OrchError):
    """The run was claimed several times and got nowhere; it is paused until someone resumes it."""

    code = "E501"
    exit: ClassVar[Exit] = Exit.WAITING

    def __init__(self, run_id: str, *, claims: int) -> None:
        super().__init__(
            f"run {run_id} is paused: {claims} drivers in a row took it and ended without getting on",
            hint=f"look at its log, then `orch resume {run_id}`",
        )
        self.run_id = run_id
        self.claims = claims


class Held(OrchError):
    """A live driver holds the run. ``lease_until`` and ``renewed_at`` are microseconds since the epoch."""

    code = "E801"
    exit: ClassVar[Exit] = Exit.HELD

    def __init__(self, run_id: str, *, owner: str, host: str, pid: int, lease_until: int, renewed_at: int) -> None:
        super().__init__(
            f"run {run_id} is held by process {pid} on {host} (last renewal {rfc3339(renewed_at)}, "
            f"lease until {rfc3339(lease_until)})",
            hint="wait for it, stop that process, or take the run over with `--force`",
        )
        self.run_id = run_id
        self.owner = owner
        self.host = host
        self.pid = pid
        self.lease_until = lease_until
        self.renewed_at = renewed_at


class Fenced(OrchError):
    """Another driver has taken the run over: nothing more of this one is kept."""

    code = "E802"
    exit: ClassVar[Exit] = Exit.HELD

    def __init__(self, run_id: str, *, epoch: int) -> None:
        super().__init__(f"run {run_id} was taken over by another driver (ours was epoch {epoch})")
        self.run_id = run_id
        self.epoch = epoch


class Damaged(OrchError):
    """What is stored is not what was written."""

    code = "E701"
    exit: ClassVar[Exit] = Exit.MISMATCH

    def __init__(self, run_id: str, *, seq: int, problem: str) -> None:
        super().__init__(
            f"the journal of run {run_id} is damaged at seq {seq}: {problem}",
            hint="restore the store from a backup; `orch verify` tells how far the journal is sound",
        )
        self.run_id = run_id
        self.seq = seq
        self.problem = problem


class BadData(OrchError):
    """The database refuses a value of one run for what it is; sending it again would change nothing."""

    code = "E702"
    exit: ClassVar[Exit] = Exit.MISMATCH

    def __init__(self, run_id: str | None, *, problem: str) -> None:
        super().__init__(f"the store refuses a value of run {run_id or '(one of a batch)'}: {problem}")
        self.run_id = run_id
        self.problem = problem


# --- stores -------------------------------------------------------------------------------------------------------


class StoreError(OrchError):
    """The store cannot be used. What was committed is safe, and the run is resumable."""

    code = "E900"
    exit: ClassVar[Exit] = Exit.STORE


class StoreUnavailable(StoreError):
    """The store is away for now, and nothing of the request was kept: the same request may be sent again."""

    code = "E901"

    def __init__(self, store: str, *, reason: str) -> None:
        super().__init__(f"the store {store} is away: {reason}", hint="try again once it is back")


def not_waited_for(store: str) -> StoreUnavailable:
    """What whoever still waits for an abandoned store is told."""
    return StoreUnavailable(store, reason="it is not waited for any more")


class StoreLocked(StoreError):
    """Another program holds the database's lock. ``seconds`` is how long we waited."""

    code = "E902"

    def __init__(self, store: str, *, seconds: float) -> None:
        super().__init__(
            f"the store {store} was locked by another program for {seconds:g} s",
            hint="close what holds it (a database browser, a backup), then try again",
        )


class StoreNotWritable(StoreError):
    """The database, or the folder it stands in, refuses to be written."""

    code = "E903"

    def __init__(self, store: str, *, reason: str) -> None:
        super().__init__(
            f"the store {store} is not writable: {reason}",
            hint="check the rights of the file and its folder, or of the role on the server",
        )
        self.reason = reason


class StoreFull(StoreError):
    """No room is left for the database."""

    code = "E904"

    def __init__(self, store: str) -> None:
        super().__init__(f"no room is left for the store {store}", hint="free some space, then try again")


class NotADatabase(StoreError):
    """The file is something else than a database."""

    code = "E905"

    def __init__(self, store: str) -> None:
        super().__init__(f"the store {store} is not a database", hint="name another file")


class StoreDamaged(StoreError):
    """The database reports that its own structure is broken."""

    code = "E703"
    exit: ClassVar[Exit] = Exit.MISMATCH

    def __init__(self, store: str, *, reason: str) -> None:
        super().__init__(f"the store {store} is damaged: {reason}", hint="restore it from a backup")


class NoDatabase(StoreError):
    """There is nothing under this name, and it was not to be made."""

    code = "E906"

    def __init__(self, store: str) -> None:
        super().__init__(f"there is no database at {store}", hint="`orch run` and `orch db init` make one")


class SchemaNewer(StoreError):
    """The tables were made by a newer version of this program."""

    code = "E907"

    def __init__(self, store: str, *, found: int, known: int) -> None:
        super().__init__(
            f"the store {store} has schema version {found}; this program knows up to {known}", hint="use a newer orch"
        )


class SchemaOlder(StoreError):
    """The tables were made by an older version of this program."""

    code = "E908"

    def __init__(self, store: str, *, found: int, known: int) -> None:
        super().__init__(
            f"the store {store} has schema version {found}, this program needs {known}", hint="`orch db migrate`"
        )


class SchemaIncomplete(StoreError):
    """The version is right and the tables are not."""

    code = "E909"

    def __init__(self, store: str, *, missing: Sequence[str]) -> None:
        super().__init__(
            f"the store {store} lacks {', '.join(missing)}",
            hint="restore it from a backup, or name an empty database; `orch db check` lists what is wrong",
        )
        self.missing = tuple(missing)


class StoreFailed(StoreError):
    """The database reports an error of its own."""

    code = "E910"

    def __init__(self, store: str, *, reason: str) -> None:
        super().__init__(f"the store {store} failed: {reason}")


class JournalWentBack(StoreError):
    """The journal lacks rows that were committed: an older copy of the database took its place."""

    code = "E911"

    def __init__(self, run_id: str, *, head: int) -> None:
        super().__init__(
            f"the journal of run {run_id} lacks rows that were committed (it should reach seq {head})",
            hint="an older copy of the database seems to have taken its place; `orch verify` tells more",
        )


class RunTaken(StoreError):
    """A run of this id exists already, with another history."""

    code = "E912"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, run_id: str, *, hint: str = "choose another id") -> None:
        super().__init__(f"a run {run_id} exists already", hint=hint)
        self.run_id = run_id


class UnknownBlob(StoreError):
    """Something refers to a content that is not there."""

    code = "E704"
    exit: ClassVar[Exit] = Exit.MISMATCH

    def __init__(self, name: str, *, problem: str = "is missing") -> None:
        super().__init__(f"blob {name[:16]} {problem}", hint="restore the store from a backup")
        self.name = name


class UnknownDriver(StoreError):
    """The owner was never registered, or its row has been removed."""

    code = "E913"

    def __init__(self, owner: str) -> None:
        super().__init__(f"driver {owner} is not registered with the store")


class StoreRefused(StoreError):
    """The database server does not let us in, or not into that database."""

    code = "E914"

    def __init__(self, store: str, *, reason: str) -> None:
        super().__init__(
            f"the store {store} refuses us: {reason}",
            hint="check the user, the password, the database and the TLS options of its URL",
        )


class TablesNotAllowed(StoreError):
    """The role may not make tables."""

    code = "E915"

    def __init__(self, store: str, *, reason: str) -> None:
        super().__init__(
            f"the store {store} has no tables, and its role may not make them: {reason}",
            hint="have someone with the right run what `orch db ddl` prints",
        )


class NotOffered(StoreError):
    """A database has other means for this."""

    code = "E916"
    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, store: str, *, what: str, instead: str) -> None:
        super().__init__(f"the store {store} offers no {what} of its own", hint=instead)


class BadStoreUrl(OrchError):
    """The text names no store. ``shown`` never holds a password."""

    code = "E920"

    def __init__(self, shown: str, *, problem: str, hint: str | None = None) -> None:
        super().__init__(
            f"{shown!r} names no store: {problem}",
            hint=hint or "for example sqlite:///runs.db, postgresql://USER@HOST/DATABASE or memory:",
        )


class BadTablePrefix(OrchError):
    """The prefix of table names is not one."""

    code = "E922"

    def __init__(self, prefix: str) -> None:
        super().__init__(f"{prefix[:40]!r} is no table prefix", hint="a prefix is [a-z][a-z0-9_]{0,30}")
