from __future__ import annotations

import ssl
from pathlib import Path

import anyio
import pytest

from orchestrator.journal.errors import BadStoreUrl
from orchestrator.stores import StoreSettings, open_store, parse_url
from orchestrator.stores.urls import MemoryUrl, ServerUrl, SqliteUrl, mask
from tests.certificates import Certificates, make

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
    ("postgresql://ada:sesame@host:5433/db", "PostgreSQL", "ada", "sesame", "host", 5433, "db"),
    ("postgres://host/db", "PostgreSQL", None, None, "host", 5432, "db"),
    ("postgresql+asyncpg://ada:sesame@host/db?sslmode=require", "PostgreSQL", "ada", "sesame", "host", 5432, "db"),
    ("postgresql://ada@host/my%20runs", "PostgreSQL", "ada", None, "host", 5432, "my runs"),
    ("postgresql://ada:ses%40me%2Fsesame@host/db", "PostgreSQL", "ada", "ses@me/sesame", "host", 5432, "db"),
    ("postgresql://ada:@host/db", "PostgreSQL", "ada", "", "host", 5432, "db"),
    ("postgresql://ada@[::1]:5432/db", "PostgreSQL", "ada", None, "::1", 5432, "db"),
    ("POSTGRES://host/db", "PostgreSQL", None, None, "host", 5432, "db"),
    ("postgresql://host/db?user=ada&password=sesame", "PostgreSQL", "ada", "sesame", "host", 5432, "db"),
    ("mysql://ada:sesame@host/db", "MySQL", "ada", "sesame", "host", 3306, "db"),
    ("mysql+aiomysql://ada:sesame@host/db", "MySQL", "ada", "sesame", "host", 3306, "db"),
    ("mariadb://ada:sesame@host/db", "MariaDB", "ada", "sesame", "host", 3306, "db"),
    ("mariadb+aiomysql://host/db?password=sesame", "MariaDB", None, "sesame", "host", 3306, "db"),
]

SERVERS_REFUSED = [
    ("postgresql://ada:sesame@/db", "the host is missing"),
    ("postgresql://ada:sesame@host", "the database is missing"),
    ("postgresql://ada:sesame@host/", "the database is missing"),
    ("postgresql://ada:sesame@host/a/b", "names no database"),
    ("postgresql://ada:sesame@host:port/db", "the port is no number"),
    ("postgresql://ada:sesame@host:0/db", "the port is no number"),
    ("postgresql://ada:sesame@host:99999/db", "the port is no number"),
    ("postgresql://ada:ses/ame@host/db", "a slash stands before"),
    ("postgresql://ada:sesame@host/db?sslmod=require", "unknown option"),
    ("postgresql://ada:sesame@host/db?sslmode=maybe", "sslmode is one of"),
    ("postgresql://ada:sesame@host/db?sslmode", "it cannot be read"),
    ("postgresql://ada:sesame@host/db?pool=1", "pool is a number"),
    ("postgresql://ada:sesame@host/db?pool=1000", "pool is a number"),
    ("postgresql://ada:sesame@host/db?timeout=0", "timeout is a number"),
    ("postgresql://ada:sesame@host/db?connect_timeout=never", "connect_timeout is a number"),
    ("postgresql://ada:sesame@host/db?pooler=maybe", "pooler is true or false"),
    ("postgresql://ada:sesame@host/db?pool=3&pool=4", "given twice"),
    ("mysql://ada:sesame@host/db?unix_socket=/tmp/x", "unknown option"),
]


def test_the_table_is_long_enough() -> None:
    assert len(FILES) + len(REFUSED) + len(SERVERS) + len(SERVERS_REFUSED) >= 40


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


@pytest.mark.parametrize(("text", "backend", "user", "password", "host", "port", "database"), SERVERS)
def test_servers(
    text: str, backend: str, user: str | None, password: str | None, host: str, port: int, database: str
) -> None:
    found = parse_url(text)
    assert isinstance(found, ServerUrl)
    assert (found.backend, found.user, found.password) == (backend, user, password)
    assert (found.host, found.port, found.database) == (host, port, database)
    store = open_store(text)
    for shown in (repr(found), found.shown, store.name, repr(store)):
        assert "sesame" not in shown


@pytest.mark.parametrize(("text", "problem"), SERVERS_REFUSED)
def test_servers_that_are_refused(text: str, problem: str) -> None:
    with pytest.raises(BadStoreUrl, match=problem) as caught:
        open_store(text)
    assert "sesame" not in f"{caught.value} {caught.value!r} {caught.value.hint}"
    assert caught.value.hint


def test_options_of_servers() -> None:
    found = parse_url("postgres://h/d?pool=9&timeout=2.5&connect_timeout=1&sslmode=verify-full&pooler=true")
    assert isinstance(found, ServerUrl)
    assert (found.pool, found.timeout, found.connect_timeout) == (9, 2.5, 1.0)
    assert (found.tls, found.pooler) == ("verify-full", True)
    plain = parse_url("mysql://h/d?ssl-mode=VERIFY_CA&ssl_ca=/nowhere.pem")
    assert isinstance(plain, ServerUrl)
    assert (plain.tls, plain.root) == ("verify-ca", "/nowhere.pem")
    with pytest.raises(BadStoreUrl, match="cannot be used"):
        plain.tls_context()


@pytest.mark.parametrize(
    ("mode", "checks", "names"),
    [("prefer", False, False), ("require", False, False), ("verify-ca", True, False), ("verify-full", True, True)],
)
def test_what_is_checked_of_a_certificate(mode: str, checks: bool, names: bool) -> None:
    found = parse_url(f"mysql://h/d?sslmode={mode}")
    assert isinstance(found, ServerUrl)
    context = found.tls_context()
    assert context is not None
    assert (context.verify_mode == ssl.CERT_REQUIRED, context.check_hostname) == (checks, names)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def test_a_root_is_checked_with_where_encryption_is_required(made: Certificates) -> None:
    for mode, checks in (("prefer", ssl.CERT_NONE), ("require", ssl.CERT_REQUIRED), ("verify-ca", ssl.CERT_REQUIRED)):
        found = parse_url(f"mysql://h/d?sslmode={mode}&sslrootcert={made.authority}")
        assert isinstance(found, ServerUrl)
        context = found.tls_context()
        assert context is not None
        assert (context.verify_mode, context.check_hostname) == (checks, False)


@pytest.mark.parametrize("backend", ["mysql", "postgresql"])
@pytest.mark.parametrize("mode", ["prefer", "require", "verify-full"])
def test_files_of_certificates_that_cannot_be_used_are_named(
    backend: str, mode: str, made: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    for option, file, says in (
        ("sslrootcert", "/nope", "No such file"),
        ("sslrootcert", tmp_path / "empty", "cannot be used"),
        ("sslcert", "/nope", "No such file"),
        ("sslcert", made.authority, "the key in it"),
        ("sslkey", "/nope", "No such file"),
    ):
        with pytest.raises(BadStoreUrl, match=says) as caught:
            anyio.run(open_store(f"{backend}://h/d?sslmode={mode}&{option}={file}").open)
        assert f"{option} {file}" in str(caught.value)


def test_no_encryption_where_none_is_wanted() -> None:
    found = parse_url("mysql://h/d?sslmode=disable")
    assert isinstance(found, ServerUrl)
    assert found.tls_context() is None


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ada:sesame@",
        "postgresql://ada:ses@me:sesame@host",
        "redis://ada:sesame@host",
        "postgres:/ada:sesame@host",
        "mysql+pymysql://ada:sesame@host/db",
        "mysql+x://host/db?user=ada&password=sesame",
        "mysql://host/db?password=sesame&passwrd=sesame&x",
        "nonsense://host?token=sesame&x=1",
        "sqlite://ada:sesame@host/x.db",
        "ada:sesame@host",
        "postgresql://host/db?pasword=sesame",
        "postgresql://ada@host/db?pool=many&pasword=sesame",
        "postgresql://ada:ses?sesame@host/db",
        "postgresql://ada:ses?sesame=1@host/db",
        "postgresql://ada:ses?pool=sesame@host/db",
        "postgresql://ada:sesame?x@host/db",
        "postgresql://ada:s#sesame/me@host/db",
        "postgresql://ada:sesame/me?x@host/db",
        "postgresql://ada:sesame?x",
        "mysql://host/db?password=a&sesame=1",
        "mysql://host/db?password=a&sesame",
        "mysql://host/db?password=a@sesame&pool=many",
    ],
)
def test_no_message_shows_a_password(text: str) -> None:
    assert "sesame" not in mask(text)
    with pytest.raises(BadStoreUrl) as caught:
        open_store(text)
    assert "sesame" not in f"{caught.value} {caught.value!r} {caught.value.hint}"


def test_what_is_no_password_is_shown() -> None:
    assert mask("postgresql://host:5432/db?sslmode=maybe&pool=3") == ("postgresql://host:5432/db?sslmode=maybe&pool=3")
    assert mask("postgresql://[::1]:5432/db?pasword=x") == "postgresql://[::1]:5432/db?pasword=***"
    with pytest.raises(BadStoreUrl, match="unknown option 'pasword'") as caught:
        parse_url("postgresql://host/db?pasword=sesame")
    assert caught.value.hint == "did you mean password?"


def test_the_settings_reach_the_store(tmp_path: Path) -> None:
    store = open_store("sqlite:x.db", settings=StoreSettings(base=tmp_path, table_prefix="orch_"))
    assert store.name == f"sqlite:{tmp_path}/x.db"
    assert "CREATE TABLE orch_runs" in store.ddl()
