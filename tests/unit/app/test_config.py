from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.app.config import ConfigErrors, Named, duration, load_config
from orchestrator.app.runs import build_store
from orchestrator.stores.server import ServerStore
from orchestrator.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a folder inside, where the work is done."""
    work = tmp_path / "project" / "sub"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    return work.parent


def env(project: Path, **more: str) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(project.parent / "config"), **more}


def user_config(project: Path, text: str) -> None:
    folder = project.parent / "config" / "orch"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)


def test_the_default_is_beside_the_work(project: Path) -> None:
    chosen = load_config(environ=env(project)).chosen()
    assert (chosen.url, chosen.folder) == ("sqlite:///.orch/runs.db", project / "sub")
    assert not chosen.explicit


def test_who_wins(project: Path) -> None:
    file = project / "sub" / "p.yaml"
    user_config(project, 'store = "sqlite:///user.db"')
    assert load_config(environ=env(project)).chosen().url == "sqlite:///user.db"
    with_file = load_config(environ=env(project)).chosen(from_file="sqlite:///file.db", file=file)
    assert (with_file.url, with_file.folder) == ("sqlite:///file.db", project / "sub")
    (project / "orch.toml").write_text('store = "sqlite:///toml.db"')
    with_toml = load_config(environ=env(project)).chosen(from_file="sqlite:///file.db", file=file)
    assert (with_toml.url, with_toml.folder) == ("sqlite:///toml.db", project)
    variable = env(project, ORCH_STORE="sqlite:///var.db")
    assert load_config(environ=variable).chosen().url == "sqlite:///var.db"
    flag = load_config(flag="sqlite:///flag.db", environ=variable).chosen()
    assert (flag.url, flag.folder, flag.explicit) == ("sqlite:///flag.db", project / "sub", True)


def test_orch_toml_is_looked_for_from_the_file_upwards(project: Path) -> None:
    other = project.parent / "other"
    other.mkdir()
    (other / "orch.toml").write_text('lease = "1m30s"\ntable_prefix = "orch_"')
    found = load_config(near=other / "p.yaml", environ=env(project))
    assert (found.lease, found.table_prefix, found.project) == (90.0, "orch_", other / "orch.toml")
    assert load_config(environ=env(project)).lease is None


def test_a_variable_wins_over_orch_toml(project: Path) -> None:
    (project / "orch.toml").write_text('lease = "15s"')
    assert load_config(environ=env(project, ORCH_LEASE="2s")).lease == 2.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('stroe = "x"', [("E010", 1, 1)]),
        ('\n# note\nlease = "15s"\nfoo = 1', [("E010", 4, 1)]),
        ("lease = 15", [("E013", 1, 1)]),
        ('lease = "soon"', [("E013", 1, 1)]),
        ('lease = "1ms"', [("E013", 1, 1)]),
        ("store = 5", [("E013", 1, 1)]),
        ('table_prefix = "Robert\'); --"', [("E013", 1, 1)]),
        ("a = [", [("E011", 1, 6)]),
        ('[policy]\nstore = "x"', [("E190", 1, 2)]),
        ("pool = 1", [("E013", 1, 1)]),
        ("pool = true", [("E013", 1, 1)]),
        ("pool = '5'", [("E013", 1, 1)]),
        ("timeouts = 5", [("E013", 1, 1)]),
        ('[timeouts]\nconect = "1s"', [("E010", 1, 2)]),
        ("[timeouts]\nconnect = 5", [("E013", 1, 2)]),
        ('[timeouts]\nconnect = "0s"', [("E013", 1, 2)]),
        ('  "odd key" = 1', [("E010", 1, 3)]),
        ("x = 1\ny = 2", [("E010", 1, 1), ("E010", 2, 1)]),
    ],
)
def test_problems_have_their_places(project: Path, text: str, expected: list[tuple[str, int, int]]) -> None:
    (project / "orch.toml").write_text(text)
    with pytest.raises(ConfigErrors) as raised:
        load_config(environ=env(project))
    assert [(one.code, one.mark.line, one.mark.column) for one in raised.value.diagnostics if one.mark] == expected


def test_any_secret_can_be_a_password(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "a:b/c?d#e@f%40 g&h")
    config = load_config(environ=env(project))
    for url in (
        "postgresql://me:${{ secrets.PW }}@host:5433/runs?pool=3",
        "postgresql://me@host:5433/runs?password=${{secrets.PW}}&pool=3",
    ):
        store = build_store(Named(url, project, "test"), config)
        assert isinstance(store, ServerStore)
        place = store._url
        assert (place.password, place.host, place.port, place.pool) == ("a:b/c?d#e@f%40 g&h", "host", 5433, 3)
    monkeypatch.setenv("PW", "sqlite:x?mode=ro")
    assert isinstance(build_store(Named("${{ secrets.PW }}", project, "test"), config), SqliteStore)


def test_pool_and_timeouts_go_to_the_store_unless_its_url_says_otherwise(project: Path) -> None:
    user_config(project, '[timeouts]\nconnect = "2s"\nlock = "1s"')
    (project / "orch.toml").write_text('pool = 7\n[timeouts]\nconnect = "3s"\nstatement = "1m"\n')
    config = load_config(environ=env(project))
    assert (config.pool, config.timeouts) == (7, {"connect": 3.0, "lock": 1.0, "statement": 60.0})

    def told(url: str) -> tuple[int, float, float]:
        store = build_store(Named(url, project, "test"), config)
        assert isinstance(store, ServerStore)
        place = store._url
        return (place.pool, place.timeout, place.connect_timeout)

    assert told("postgresql://me@host/runs") == (7, 60.0, 3.0)
    assert told("mariadb://me@host/runs?pool=3&timeout=4") == (3, 4.0, 3.0)
    file = build_store(Named("sqlite:x.db", project, "test"), config)
    assert isinstance(file, SqliteStore)
    assert file._db._busy_timeout == 1.0  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("body", [b"\xff\xfe", b"#" * 2_000_000])
def test_bytes_that_are_no_configuration(project: Path, body: bytes) -> None:
    (project / "orch.toml").write_bytes(body)
    with pytest.raises(ConfigErrors) as raised:
        load_config(environ=env(project))
    assert [one.code for one in raised.value.diagnostics] == ["E012"]


def test_a_typo_comes_with_the_closest(project: Path) -> None:
    (project / "orch.toml").write_text('stroe = "x"')
    with pytest.raises(ConfigErrors) as raised:
        load_config(environ=env(project))
    assert raised.value.diagnostics[0].hint == "did you mean `store`?"


def test_a_variable_that_does_not_fit(project: Path) -> None:
    with pytest.raises(ConfigErrors, match="ORCH_LEASE"):
        load_config(environ=env(project, ORCH_LEASE="soon"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("15s", 15), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("2d", 172_800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("value", ["", "15", 15, "s", "1 s", "-1s", None])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(value)
