"""The databases that tests run against: one named by a variable, one that runs already, or a throw-away one; and
PgBouncer in front of one.

For each of ``postgres`` and ``mysql`` (MariaDB serves), in this order: the URL in ``ORCH_TEST_POSTGRES`` or
``ORCH_TEST_MYSQL``; a server on the standard port of the loopback that lets this user in without a password; a server
started from installed binaries on a free port, with its data in a temporary folder, gone when the tests end. Tests make
databases of their own in it. Where there is none, its tests are skipped, with the reason in one line; names listed in
``ORCH_TEST_REQUIRE`` (``postgres,mysql``) fail instead.

``python -m tests.services`` says what the tests would use.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.parents import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = ("postgres", "mysql", "pgbouncer")
OTHERS = ("npm",)
"""What else tests may need, and look for themselves."""

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Whom a server of our own lets in, and how it shows who it is: a password for its one user (empty: anybody), and
    files of a certificate and its key (None: it offers no TLS).
    """

    password: str = ""
    certificate: Path | None = None
    key: Path | None = None


OPEN = Guard()


@dataclass(frozen=True, slots=True)
class Service:
    """A server that tests may make databases in. ``how`` says where it came from, for people. ``restart`` stops one of
    our own as a power cut would, and starts it again; what it is given is done in between.
    """

    name: str
    url: str
    how: str
    restart: Callable[..., None] | None = None


class NoService(Exception):
    """There is no server of that name, and none could be started; the text says why."""


def required() -> frozenset[str]:
    """The names in ``ORCH_TEST_REQUIRE``. ValueError for one that is not known."""
    names = frozenset(filter(None, os.environ.get("ORCH_TEST_REQUIRE", "").replace(" ", "").split(",")))
    if unknown := names - {*NAMES, *OTHERS}:
        raise ValueError(f"ORCH_TEST_REQUIRE names {sorted(unknown)}; known are {[*NAMES, *OTHERS]}")
    return names


@contextlib.contextmanager
def service(name: str) -> Iterator[Service]:
    """The server of that name, for as long as the block lasts. NoService where there is none."""
    if url := os.environ.get(f"ORCH_TEST_{name.upper()}"):
        yield Service(name, url, f"ORCH_TEST_{name.upper()}")
        return
    running, start = {
        "postgres": (_running_postgres, _started_postgres),
        "mysql": (_running_mysql, _started_mysql),
        "pgbouncer": (_nothing, _started_pgbouncer),
    }[name]
    if found := running():
        yield found
        return
    with tempfile.TemporaryDirectory(prefix=f"orch-{name}-") as folder, start(Path(folder)) as found:
        yield found


@contextlib.contextmanager
def own(name: str, guard: Guard = OPEN) -> Iterator[Service]:
    """A server that nobody else uses, started from installed binaries. NoService where there are none. Its URL holds no
    password.
    """
    start = {"postgres": _started_postgres, "mysql": _started_mysql}[name]
    with tempfile.TemporaryDirectory(prefix=f"orch-{name}-") as folder, start(Path(folder), guard) as found:
        yield found


@contextlib.contextmanager
def or_skip(name: str, how: Callable[[str], contextlib.AbstractContextManager[Service]] = service) -> Iterator[Service]:
    """``service`` (or ``own``) for a fixture: skips where there is none, or fails where ``ORCH_TEST_REQUIRE`` names
    it.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(how(name))
        except NoService as error:
            (pytest.fail if name in required() else pytest.skip)(str(error))
        yield found


def _nothing() -> None:
    return None


def _running_postgres() -> Service | None:
    if (psql := _find("psql")) is None:
        return None
    url = "postgresql://postgres@127.0.0.1:5432/postgres"
    ok = _quiet([psql, "--no-password", "-qAt", "-c", "select 1", f"{url}?connect_timeout=2"])
    return Service("postgres", url, "running on 127.0.0.1:5432") if ok else None


def _running_mysql() -> Service | None:
    if (admin := _find("mariadb", "mysql")) is None:
        return None
    options = ["--no-defaults", "-h127.0.0.1", "-P3306", "-uroot", "--connect-timeout=2", "-e", "select 1"]
    url = "mysql://root@127.0.0.1:3306/mysql"
    return Service("mysql", url, "running on 127.0.0.1:3306") if _quiet([admin, *options]) else None


@contextlib.contextmanager
def _started_postgres(folder: Path, guard: Guard = OPEN) -> Iterator[Service]:
    initdb, postgres, isready = _find("initdb"), _find("postgres"), _find("pg_isready")
    if initdb is None or postgres is None or isready is None:
        raise NoService("no PostgreSQL: none runs on 127.0.0.1:5432, and no initdb is installed")
    user, port, data = _Account.of("postgres", folder), _free_port(), folder / "data"
    asks = ["-A", "trust"]
    if guard.password:
        asks = ["-A", "scram-sha-256", f"--pwfile={user.gets(folder / 'password', guard.password.encode())}"]
    user.run([initdb, "-D", str(data), "-U", "postgres", *asks, "-E", "UTF8", "--locale=C"], folder)
    options = ["-p", str(port), "-h", "127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300"]
    if guard.certificate is not None and guard.key is not None:
        certificate, key = user.shown(folder, guard.certificate, guard.key)
        options += ["-c", "ssl=on", "-c", f"ssl_cert_file={certificate}", "-c", f"ssl_key_file={key}"]
    options += ["-c", "shared_preload_libraries=pg_stat_statements"] if _has_statistics(postgres) else []
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    ready = partial(_quiet, [isready, "-q", "-h", "127.0.0.1", "-p", str(port)])
    argv = [postgres, "-D", str(data), *options]
    with user.serve(argv, folder, ready, at_once=signal.SIGQUIT) as restart:
        yield Service("postgres", url, f"started {postgres} on port {port}", restart)


POOLED = 2
"""Connections of the pooler to one database: fewer than a store opens."""


@contextlib.contextmanager
def _started_pgbouncer(folder: Path) -> Iterator[Service]:
    """PgBouncer in transaction mode; any database of the server behind it has the same name in front."""
    program = _find("pgbouncer")
    if program is None:
        raise NoService("no PgBouncer is installed")
    with service("postgres") as server:
        user, port, where = _Account.of("postgres", folder), _free_port(), urlsplit(server.url)
        behind = f"host={where.hostname} port={where.port or 5432} user={where.username}"
        behind += f" password={where.password}" if where.password else ""
        options = [f"listen_port = {port}", "listen_addr = 127.0.0.1", "unix_socket_dir =", "auth_type = any"]
        options += ["pool_mode = transaction", f"default_pool_size = {POOLED}", "max_client_conn = 200"]
        config = "\n".join(["[databases]", f"* = {behind}", "[pgbouncer]", *options, ""])
        file = user.gets(folder / "pgbouncer.ini", config.encode())
        with user.serve([program, str(file)], folder, partial(_listens, port), at_once=signal.SIGKILL) as restart:
            url = urlunsplit(where._replace(netloc=f"{where.username}@127.0.0.1:{port}"))
            yield Service("pgbouncer", url, f"started {program} on port {port}; PostgreSQL {server.how}", restart)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _has_statistics(postgres: str) -> bool:
    return any(Path(postgres).parent.parent.glob("lib/pg_stat_statements.so"))


@contextlib.contextmanager
def _started_mysql(folder: Path, guard: Guard = OPEN) -> Iterator[Service]:
    install, server = _find("mariadb-install-db"), _find("mariadbd")
    client = _find("mariadb")
    if install is None or server is None or client is None:
        raise NoService("no MariaDB: none runs on 127.0.0.1:3306, and no mariadb-install-db is installed")
    user, port, data, sock = _Account.of("mysql", folder), _free_port(), folder / "data", folder / "s"
    user.run(
        [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"],
        folder,
    )
    options = [f"--datadir={data}", "--bind-address=127.0.0.1", f"--port={port}", f"--socket={sock}"]
    # A server that starts clears the temporary tables out of its folder: another's, where they share one.
    options += ["--max-connections=300", f"--tmpdir={data}"]
    if guard.certificate is not None and guard.key is not None:
        certificate, key = user.shown(folder, guard.certificate, guard.key)
        options += [f"--ssl-cert={certificate}", f"--ssl-key={key}"]
    login = [client, "--no-defaults", "-uroot", f"-S{sock}"]
    # root@localhost is the socket alone: the tests come over TCP.
    grant = (
        f"CREATE USER IF NOT EXISTS orch@'127.0.0.1' IDENTIFIED BY '{guard.password}'; "
        "GRANT ALL ON *.* TO orch@'127.0.0.1' WITH GRANT OPTION;"
    )
    with user.serve(
        [server, "--no-defaults", *options, "--skip-log-bin", f"--pid-file={folder / 'pid'}"],
        folder,
        partial(_quiet, [*login, "-e", grant]),
        at_once=signal.SIGKILL,
    ) as restart:
        yield Service("mysql", f"mysql://orch@127.0.0.1:{port}/mysql", f"started {server} on port {port}", restart)


@dataclass(frozen=True, slots=True)
class _Account:
    """Who a server runs as: root gives way to the account of the package, which the servers insist on."""

    user: int | None
    group: int | None

    @classmethod
    def of(cls, name: str, folder: Path) -> _Account:
        if os.geteuid() != 0:
            return cls(None, None)
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise NoService(f"no {name}: it refuses to run as root, and there is no account {name}") from None
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        return cls(entry.pw_uid, entry.pw_gid)

    def gets(self, file: Path, content: bytes) -> Path:
        """A file that it alone reads."""
        file.touch(mode=0o600)
        file.write_bytes(content)
        if self.user is not None and self.group is not None:
            os.chown(file, self.user, self.group)
        return file

    def shown(self, folder: Path, certificate: Path, key: Path) -> tuple[Path, Path]:
        """Its own copies of a certificate and of the key."""
        return (
            self.gets(folder / "server.crt", certificate.read_bytes()),
            self.gets(folder / "server.key", key.read_bytes()),
        )

    def run(self, argv: list[str], folder: Path) -> None:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, user=self.user, group=self.group, timeout=START_SECONDS
        )
        if done.returncode:
            raise NoService(f"{argv[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")

    @contextlib.contextmanager
    def serve(
        self, argv: list[str], folder: Path, ready: Callable[[], bool], *, at_once: signal.Signals
    ) -> Iterator[Callable[..., None]]:
        """The server, while the block lasts; what is given restarts it after it was stopped with ``at_once``."""
        log = folder / "server.log"

        def start() -> subprocess.Popen[bytes]:
            with log.open("ab") as out:
                process = subprocess.Popen(
                    argv,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    user=self.user,
                    group=self.group,
                    extra_groups=() if self.user is not None else None,
                    # A killed test run leaves no server behind.
                    preexec_fn=partial(die_with_parent, os.getpid()),
                )
            give_up = time.monotonic() + START_SECONDS
            while not ready():
                if process.poll() is not None or time.monotonic() > give_up:
                    raise NoService(f"{argv[0]} did not start: {log.read_text(errors='replace')[-400:]}")
                time.sleep(0.05)
            return process

        def restart(meanwhile: Callable[[], None] | None = None) -> None:
            nonlocal process
            process.send_signal(at_once)
            process.wait()
            if meanwhile is not None:
                meanwhile()
            process = start()

        process = start()
        try:
            yield restart
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _find(*names: str) -> str | None:
    """The first of these programs, also where Debian keeps PostgreSQL's and the servers'."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    places = os.pathsep.join([*map(str, versions), os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return next(filter(None, (shutil.which(name, path=places) for name in names)), None)


def _quiet(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=10).returncode == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """One line per database; 1 where a required one is missing."""
    missing = 0
    for name in NAMES:
        try:
            with service(name) as found:
                print(f"{name}: {found.how}")
        except NoService as error:
            print(f"{name}: {error}")
            missing += name in required()
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
