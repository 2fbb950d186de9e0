from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.journal.errors import BadStoreUrl, StoreNotAvailable
from orchestrator.stores import StoreSettings, open_store, parse_url
from orchestrator.stores.urls import MemoryUrl, ServerUrl, SqliteUrl, mask

BASE = Path("/work dir")

FILES = [
    ("sqlite:runs.db", "/work dir/runs.db"),
    ("sqlite:a/b.db", "/work dir/a/b.db"),
    ("sqlite:./a.db", "/work dir/a.db"),
    ("sqlite:/var/a.db", "/var/a.db"),
    ("sqlite:///runs.db", "/work dir/runs.db"),
    ("sqlite:///a/b.db", "/work dir/a/b.db"),
    ("sqlite:////var/a.db", "/var/a.db"),
    ("SQLite:///runs.db", "/work dir/runs.db"),
    ("sqlite:///a b.db", "/work dir/a b.db"),
    ("sqlite:///a%20b.db", "/work dir/a b.db"),
    ("sqlite:///a#b.db", "/work dir/a#b.db"),
    ("sqlite:///a%23b.db", "/work dir/a#b.db"),
    ("sqlite:///a%3Fb.db", "/work dir/a?b.db"),
    ("sqlite:///100%.db", "/work dir/100%.db"),
    ("sqlite:///%FF.db", "/work dir/%FF.db"),
    ("sqlite:///é.db", "/work dir/é.db"),
    ("sqlite:///no-extension", "/work dir/no-extension"),
    ("sqlite:a@b:c.db", "/work dir/a@b:c.db"),
    ("sqlite:///runs.db?mode=rw", "/work dir/runs.db"),
    ("sqlite:///runs.db?mode=ro&timeout=2.5", "/work dir/runs.db"),
]

REFUSED = [
    ("", "no scheme"),
    ("runs.db", "no scheme"),
    ("/var/runs.db", "no scheme"),
    ("./runs.db", "no scheme"),
    ("sqlite", "no scheme"),
    ("://x", "no scheme"),
    (" sqlite:///x.db", "no scheme"),
    ("sqlite:", "the file is missing"),
    ("sqlite://", "the file is missing"),
    ("sqlite:///", "the file is missing"),
    ("sqlite::memory:", "the file is missing"),
    ("sqlite:///:memory:", "the file is missing"),
    ("sqlite://runs.db", "names a host"),
    ("sqlite://host/runs.db", "names a host"),
    ("sqlite:///folder/", "names no file"),
    ("sqlite:///..", "names no file"),
    ("sqlite:///a%00b.db", "names no file"),
    ("sqlite:///runs.db?mode=rx", "mode is one of"),
    ("sqlite:///runs.db?mode", "unknown option"),
    ("sqlite:///runs.db?mod=ro", "unknown option"),
    ("sqlite:///runs.db?cache=shared", "unknown option"),
    ("sqlite:///runs.db?mode=ro&mode=rw", "given twice"),
    ("sqlite:///runs.db?timeout=soon", "number of seconds"),
    ("sqlite:///runs.db?timeout=-1", "number of seconds"),
    ("sqlite:///runs.db?timeout=nan", "number of seconds"),
    ("sqlite+aiosqlite:///runs.db", "unknown scheme"),
    ("sqlit:///runs.db", "unknown scheme"),
    ("file:runs.db", "unknown scheme"),
    ("http://example.org/runs.db", "unknown scheme"),
    ("redis://localhost", "unknown scheme"),
    ("C:\\runs.db", "unknown scheme"),
    ("memory:x", "no name"),
    ("memory:?a=b", "no name"),
    ("memory+x:", "unknown scheme"),
    ("postgres:/host/db", "the host is missing"),
    ("postgresql:///db", "the host is missing"),
    ("postgresql+psycopg2://host/db", "not driven through"),
    ("mysql+pymysql://host/db", "not driven through"),
    ("mariadb+asyncpg://host/db", "not driven through"),
]

SERVERS = [
    ("postgresql://ada:sesame@host:5432/db", "PostgreSQL"),
    ("postgres://host/db", "PostgreSQL"),
    ("postgresql+asyncpg://ada:sesame@host/db?sslmode=require", "PostgreSQL"),
    ("mysql://ada:sesame@host/db", "MySQL"),
    ("mysql+aiomysql://ada:sesame@host/db", "MySQL"),
    ("mariadb://ada:sesame@host/db", "MariaDB"),
    ("mariadb+aiomysql://host/db?password=sesame", "MariaDB"),
]


def test_the_table_is_long_enough() -> None:
    assert len(FILES) + len(REFUSED) + len(SERVERS) >= 40


@pytest.mark.parametrize(("text", "path"), FILES)
def test_files(text: str, path: str) -> None:
    found = parse_url(text, base=BASE)
    assert isinstance(found, SqliteUrl)
    assert str(found.path) == path
    assert found.shown == f"sqlite:{path}"


def test_options() -> None:
    found = parse_url("sqlite:x.db?mode=ro&timeout=2.5", base=BASE)
    assert isinstance(found, SqliteUrl)
    assert (found.mode, found.timeout, found.read_only) == ("ro", 2.5, True)


def test_without_a_base_a_path_is_relative_to_the_working_directory() -> None:
    found = parse_url("sqlite:x.db")
    assert isinstance(found, SqliteUrl)
    assert found.path == Path.cwd() / "x.db"


def test_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    found = parse_url("sqlite:~/x.db", base=BASE)
    assert isinstance(found, SqliteUrl)
    assert str(found.path) == "/home/ada/x.db"


@pytest.mark.parametrize("text", ["memory:", "memory://"])
def test_memory(text: str) -> None:
    assert parse_url(text) == MemoryUrl()


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_the_rest_is_refused_and_nothing_is_made(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadStoreUrl, match=problem) as caught:
        open_store(text)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "backend"), SERVERS)
def test_servers_are_known_and_not_there_yet(text: str, backend: str) -> None:
    found = parse_url(text)
    assert isinstance(found, ServerUrl)
    assert found.backend == backend
    with pytest.raises(StoreNotAvailable) as caught:
        open_store(text)
    assert backend in str(caught.value)
    for shown in (str(caught.value), repr(caught.value), repr(found), found.shown):
        assert "sesame" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ada:sesame@host/db",
        "postgresql://ada:sesame@",
        "postgresql://ada:ses@me:sesame@host",
        "redis://ada:sesame@host",
        "postgres:/ada:sesame@host",
        "mysql+pymysql://ada:sesame@host/db",
        "mysql+x://host/db?user=ada&password=sesame",
        "nonsense://host?token=sesame&x=1",
        "sqlite://ada:sesame@host/x.db",
        "ada:sesame@host",
    ],
)
def test_no_message_shows_a_password(text: str) -> None:
    assert "sesame" not in mask(text)
    with pytest.raises((BadStoreUrl, StoreNotAvailable)) as caught:
        open_store(text)
    assert "sesame" not in f"{caught.value} {caught.value!r} {caught.value.hint}"


def test_the_settings_reach_the_store(tmp_path: Path) -> None:
    store = open_store("sqlite:x.db", settings=StoreSettings(base=tmp_path, table_prefix="orch_"))
    assert store.name == f"sqlite:{tmp_path}/x.db"
    assert "CREATE TABLE orch_runs" in store.ddl()
