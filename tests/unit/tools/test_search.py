from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.tools import search
from orchestrator.tools.rooted import FileRefused
from orchestrator.tools.search import TooMuch, glob, grep

if TYPE_CHECKING:
    from pathlib import Path

FILES = [
    "a.py", "b.txt", "src/c.py", "src/d.ts", "src/x/e.py", "src/x/y/f.tsx", "src/x/y/g.py", ".github/h.yml",
    "src/.i.py",
    "odd[1].py", "tests/x/e.py",
]  # fmt: skip
SIZE = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> str:
    for number, name in enumerate(FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"line one\nname {name} number {number}\n")
    (tmp_path / "link").symlink_to("src")
    (tmp_path / "up").symlink_to("..")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", ["a.py", "odd[1].py"]),
        ("**/*.py", ["a.py", "odd[1].py", "src/c.py", "src/x/e.py", "src/x/y/g.py", "tests/x/e.py"]),
        ("src/**", ["src/c.py", "src/d.ts", "src/x/e.py", "src/x/y/f.tsx", "src/x/y/g.py"]),
        ("src/*", ["src/c.py", "src/d.ts"]),
        ("src/**/y/*", ["src/x/y/f.tsx", "src/x/y/g.py"]),
        ("**/x/**/*.py", ["src/x/e.py", "src/x/y/g.py", "tests/x/e.py"]),
        ("**/**/e.py", ["src/x/e.py", "tests/x/e.py"]),
        ("**/*.{ts,tsx}", ["src/d.ts", "src/x/y/f.tsx"]),
        ("{src,tests}/x/{e,z}.py", ["src/x/e.py", "tests/x/e.py"]),
        ("?.[pt]*", ["a.py", "b.txt"]),
        ("[!a].*", ["b.txt"]),
        ("odd[[]1].py", ["odd[1].py"]),
        (".github/*", [".github/h.yml"]),
        (".*/*", [".github/h.yml"]),
        ("src/.*", ["src/.i.py"]),
        ("a.py", ["a.py"]),
        ("./src/c.py", ["src/c.py"]),
        ("none/*", []),
        ("src", []),
        ("link/*", []),
        ("up/**", []),
        ("**/h.yml", []),
    ],
)
def test_glob(root: str, pattern: str, found: list[str]) -> None:
    assert glob(root, pattern) == found


@pytest.mark.parametrize("pattern", ["/etc/*", "../*", "src/../../*", "", ".", "a\0b", "*" * 1_001, "{a,b}" * 7])
def test_patterns_that_are_refused(root: str, pattern: str) -> None:
    with pytest.raises(FileRefused):
        glob(root, pattern)


@pytest.mark.parametrize("pattern", ["**/" * 30 + "*z", "*a" * 100 + "z", "**/*a*a*a*a*a*a*a*a*z", "[a-z]*" * 60 + "1"])
def test_no_glob_takes_long(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path
    for _ in range(12):
        folder /= "a" * 40
        folder.mkdir()
        for number in range(10):
            (folder / ("a" * 200 + str(number))).touch()
    start = time.monotonic()
    glob(str(tmp_path), pattern)
    assert time.monotonic() - start < 5


def test_grep_gives_path_line_and_text(root: str) -> None:
    assert grep(root, r"number [02]$", (), SIZE) == [
        {"path": "a.py", "line": 2, "text": "name a.py number 0"},
        {"path": "src/c.py", "line": 2, "text": "name src/c.py number 2"},
    ]
    assert [found["path"] for found in grep(root, "^line", ("src", "x"), SIZE)] == [
        "src/x/e.py",
        "src/x/y/f.tsx",
        "src/x/y/g.py",
    ]


def test_grep_looks_into_hidden_files_only_by_name(root: str) -> None:
    assert grep(root, "number (7|8)", (), SIZE) == []
    assert grep(root, "number", (".github", "h.yml"), SIZE)[0]["path"] == ".github/h.yml"
    assert grep(root, "number", (".github",), SIZE)[0]["path"] == ".github/h.yml"


def test_grep_follows_no_link(root: str) -> None:
    for parts in (("link",), ("link", "c.py"), ("up",)):
        with pytest.raises(FileRefused):
            grep(root, "line", parts, SIZE)


def test_grep_passes_over_binary_and_large_files(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"needle\0")
    (tmp_path / "large").write_bytes(b"needle\n" * 100)
    (tmp_path / "latin").write_bytes(b"\xe9 needle\r\n" + b"x" * 50)
    assert grep(str(tmp_path), "needle", (), 100) == [{"path": "latin", "line": 1, "text": "\ufffd needle"}]
    with pytest.raises(FileRefused, match="700 bytes"):
        grep(str(tmp_path), "needle", ("large",), 100)


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|a)*b", r"(.*a){20}b", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_no_pattern_takes_long(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "f").write_text("a" * 50_000 + "!")
    start = time.monotonic()
    assert grep(str(tmp_path), pattern, (), SIZE) == []
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("pattern", ["", "(", "a{2,1}", r"(?=x)", r"\1", "x" * 1_001])
def test_what_is_no_re2_pattern_is_refused(root: str, pattern: str) -> None:
    with pytest.raises(FileRefused):
        grep(root, pattern, (), SIZE)


def test_bounds(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(search, "MATCHES", 3)
        with pytest.raises(TooMuch, match="over 3 lines"):
            grep(root, "line", (), SIZE)
    with monkeypatch.context() as patch:
        patch.setattr(search, "FOUND", 3)
        with pytest.raises(TooMuch, match="over 3 files"):
            glob(root, "**")
    with monkeypatch.context() as patch:
        patch.setattr(search, "VISITED", 12)
        for walk in (lambda: glob(root, "**"), lambda: grep(root, "zzz", (), SIZE)):
            with pytest.raises(TooMuch, match="to look at"):
                walk()
    with monkeypatch.context() as patch:
        patch.setattr(search, "SECONDS", 0.0)
        with pytest.raises(TooMuch, match="took over"):
            glob(root, "**")
    assert glob(root, "**")


def test_a_tree_deeper_than_the_bound_ends(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(80):
        folder /= "d"
        folder.mkdir()
    (folder / "needle").write_text("needle")
    assert glob(str(tmp_path), "**/needle") == []
    assert grep(str(tmp_path), "needle", (), SIZE) == []
