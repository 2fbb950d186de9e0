"""What the errors of database servers mean: which of them say that no room is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import asyncpg
import pytest
from pymysql.err import InternalError, OperationalError

from orchestrator.errors import Exit, OrchError
from orchestrator.journal.errors import BadData, StoreDamaged, StoreFull, StoreUnavailable
from orchestrator.stores import mysql_wire, parse_url, postgres

if TYPE_CHECKING:
    from orchestrator.stores.urls import ServerUrl

POSTGRES = cast("ServerUrl", parse_url("postgresql://me:sesame@host/runs"))
MARIADB = cast("ServerUrl", parse_url("mariadb://me:sesame@host/runs"))


def of_postgres(state: str, message: str) -> Exception:
    error = asyncpg.PostgresError.new({"C": state, "M": message})
    return postgres._meaning(error, POSTGRES)  # pyright: ignore[reportPrivateUsage]


def of_mariadb(error: Exception) -> Exception:
    return mysql_wire._meaning(error, MARIADB)  # pyright: ignore[reportPrivateUsage]


FULL = [
    of_postgres("53100", 'could not extend file "base/1/2": No space left on device'),
    of_mariadb(OperationalError(1021, "Disk full (/tmp/#sql); waiting for someone to free some space...")),
    of_mariadb(OperationalError(1114, "The table 'journal' is full")),
    of_mariadb(InternalError(1030, 'Got error 28 "No space left on device" from storage engine InnoDB')),
    of_mariadb(OperationalError(1026, "Error writing file '/tmp/x' (errno: 28 \"No space left on device\")")),
    of_mariadb(InternalError(3, "Error writing file '/tmp/x' (Errcode: 28 \"No space left on device\")")),
    of_mariadb(InternalError(20, "Disk full (/tmp/x); waiting for someone to free some space...")),
]


@pytest.mark.parametrize("found", FULL)
def test_a_full_disk_is_said_to_be_one(found: Exception) -> None:
    assert isinstance(found, StoreFull)
    assert found.exit is Exit.STORE == 9
    assert "no room is left" in str(found)
    assert "sesame" not in f"{found!r} {found}"
    assert "free some space" in str(found.hint)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (of_postgres("53200", "out of memory"), StoreUnavailable),
        (of_postgres("53300", "too many connections"), StoreUnavailable),
        (of_postgres("XX001", "invalid page in block 28"), StoreDamaged),
        (of_postgres("54000", "row is too big"), BadData),
        (of_mariadb(InternalError(1030, 'Got error 122 "Internal error" from storage engine')), StoreDamaged),
        (of_mariadb(InternalError(1030, "Got error 281 from storage engine")), StoreDamaged),
        (of_mariadb(OperationalError(1406, "Data too long, error 28")), BadData),
    ],
)
def test_what_only_looks_like_it(found: Exception, kind: type[OrchError]) -> None:
    assert type(found) is kind


@pytest.mark.parametrize(
    "found",
    [
        of_postgres("55P03", "canceling statement due to lock timeout"),
        of_postgres("40P01", "deadlock detected"),
        of_mariadb(OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction")),
    ],
)
def test_a_lock_of_another_session_is_no_store_that_is_away(found: Exception) -> None:
    assert isinstance(found, StoreUnavailable), "it may be sent again"
    assert (found.code, found.exit) == ("E902", Exit.STORE)
    assert "is locked by another session" in str(found)
    assert "LOCK TABLE" in str(found.hint)
