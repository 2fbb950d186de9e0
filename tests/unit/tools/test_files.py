from __future__ import annotations

import ctypes
import itertools
import os
import random
import socket
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from orchestrator.agents.builtin import FILE_OPERATIONS
from orchestrator.tools import rooted
from orchestrator.tools.files import perform
from orchestrator.tools.protocol import Done, Failed

if TYPE_CHECKING:
    from orchestrator.tools.protocol import Outcome

pytestmark = pytest.mark.anyio
CANARY = "canary-outside-of-the-root"


def names(folder: str | Path) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


@dataclass
class Tree:
    """A root with good files in it, a neighbour that must not be reached, and what an attacker may have put there."""

    root: Path
    outside: Path
    context: Any

    async def __call__(
        self, operation: str, *, max_size: int | None = None, bounds: dict[str, list[str]] | None = None, **args: Any
    ) -> Outcome:
        request: dict[str, Any] = {"operation": operation, "root": str(self.root), "args": args}
        if bounds is not None:
            request["bounds"] = bounds
        if max_size is not None:
            request["max_size"] = max_size
        return await perform(request, self.context)

    async def good(self, operation: str, **args: Any) -> Any:
        end = await self(operation, **args)
        assert isinstance(end, Done), end
        return end.output

    async def bad(self, operation: str, **args: Any) -> str:
        end = await self(operation, **args)
        assert isinstance(end, Failed), end
        assert end.code == "tool_error"
        return end.message

    def outside_state(self) -> dict[str, str]:
        return {str(path): path.read_text() for path in sorted(self.outside.rglob("*")) if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path, context: Any) -> Tree:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for path, text in {
        "a.txt": "one\ntwo\nthree\n",
        "sub/b.py": "import os\nprint('b')\n",
        "sub/deep/c.py": "# c\r\nimport sys\r\n",
        ".hidden/d.py": "import hidden\n",
        ".env": "import secret\n",
        "~/e.txt": "tilde is a name like any other\n",
        "...": "three dots\n",
        "a b\\c.txt": "odd\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, newline="")
    outside.mkdir()
    (outside / "secret.txt").write_text(CANARY)
    (outside / "sub").mkdir()
    (outside / "sub/deep.txt").write_text(CANARY)
    (root / "link.txt").symlink_to(outside / "secret.txt")
    (root / "relative").symlink_to("../outside")
    (root / "folder").symlink_to(outside)
    (root / "inner").symlink_to("sub")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to(outside / "new.txt")
    (root / "fds").symlink_to("/proc/self/fd")
    (root / "top").symlink_to("/")
    os.link(outside / "secret.txt", root / "hard.txt")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
    return Tree(root, outside, context)


# --- what is allowed


async def test_read(tree: Tree) -> None:
    assert await tree.good("read", path="a.txt") == "one\ntwo\nthree\n"
    assert await tree.good("read", path="./sub//deep/c.py") == "# c\r\nimport sys\r\n"
    assert await tree.good("read", path="~/e.txt") == "tilde is a name like any other\n"
    assert await tree.good("read", path="...") == "three dots\n"
    assert await tree.good("read", path="a b\\c.txt") == "odd\n"


@pytest.mark.parametrize(
    ("offset", "limit", "text"),
    [(1, 1, "one\n"), (2, None, "two\nthree\n"), (None, 2, "one\ntwo\n"), (3, 9, "three\n"), (4, 1, ""), (9, None, "")],
)
async def test_read_some_lines(tree: Tree, offset: int | None, limit: int | None, text: str) -> None:
    assert await tree.good("read", path="a.txt", offset=offset, limit=limit) == text


async def test_read_lines_of_a_file_that_is_too_large_for_itself(tree: Tree) -> None:
    with (tree.root / "big").open("wb") as file:
        file.write(b"first\nsecond\n")
        file.truncate(1 << 31)
    assert "over 1048576" in await tree.bad("read", path="big")
    assert await tree.good("read", path="big", limit=2) == "first\nsecond\n"
    assert "read fewer" in await tree.bad("read", path="big", offset=3)


async def test_sizes_are_capped_before_reading(tree: Tree) -> None:
    assert "14 bytes, over 13" in await tree.bad("read", path="a.txt", max_size=13)
    assert await tree.good("read", path="a.txt", max_size=14)
    assert "over 3" in await tree.bad("write", path="n", content="four", max_size=3)
    assert "over 14" in await tree.bad("edit", path="a.txt", old="one", new="longer", max_size=14)


async def test_what_is_no_text_is_refused(tree: Tree) -> None:
    (tree.root / "image").write_bytes(b"\x89PNG\0\0")
    (tree.root / "latin").write_bytes(b"caf\xe9")
    assert "no text" in await tree.bad("read", path="image")
    assert await tree.good("read", path="latin") == "caf\ufffd"
    assert "UTF-8" in await tree.bad("edit", path="latin", old="caf", new="tea")


async def test_list(tree: Tree) -> None:
    found = {item["name"]: (item["type"], item["size"]) for item in await tree.good("list")}
    assert found["a.txt"] == ("file", 14)
    assert found["sub"][0] == "folder"
    assert found["link.txt"][0] == "link"
    assert found["pipe"][0] == found["socket"][0] == "other"
    assert [item["name"] for item in await tree.good("list", path="sub")] == ["b.py", "deep"]
    assert [item["name"] for item in await tree.good("list", path=None)] == sorted(found)


SEARCHES: list[tuple[str, dict[str, Any]]] = [
    ("grep", {"pattern": "import"}),
    ("grep", {"pattern": "import", "path": "."}),
    ("grep", {"pattern": "import", "path": "./sub//"}),
    ("grep", {"pattern": "import", "path": "sub/deep"}),
    ("grep", {"pattern": "import", "path": "sub/b.py"}),
    ("glob", {"pattern": "**/*"}),
    ("glob", {"pattern": "./sub//**"}),
    ("glob", {"pattern": "{sub,inner}/*"}),
    ("list", {}),
    ("list", {"path": "sub/"}),
    ("list", {"path": "sub/deep"}),
]


@pytest.mark.parametrize(("operation", "args"), SEARCHES)
async def test_what_is_denied_comes_out_of_no_search(tree: Tree, operation: str, args: dict[str, Any]) -> None:
    assert "sub" not in str(await tree.good(operation, bounds={"deny": ["sub/*", "s?b"]}, **args))
    assert "deep" not in str(await tree.good(operation, bounds={"deny": ["sub/deep/*"]}, **args))


@pytest.mark.parametrize(("operation", "args"), SEARCHES)
async def test_nothing_but_what_is_allowed_comes_out_of_a_search(
    tree: Tree, operation: str, args: dict[str, Any]
) -> None:
    found = await tree.good(operation, bounds={"allow": ["sub/deep/*"]}, **args)
    everything = await tree.good(operation, **args)
    wanted = ("deep", "sub", "c.py") if operation == "list" else ("sub/deep/c.py",)
    assert found == [
        item
        for item in everything
        if (item if operation == "glob" else item["name" if operation == "list" else "path"]) in wanted
    ]


async def test_bounds_hold_for_links_and_ways_out(tree: Tree) -> None:
    bounds = {"deny": ["sub/*"]}
    for path in ("inner", "inner/deep", "sub/../sub", "a/../sub"):
        await tree.bad("list", path=path, bounds=bounds)
        await tree.bad("grep", pattern="import", path=path, bounds=bounds)
    assert await tree.good("glob", pattern="inner/**", bounds=bounds) == []


async def test_write_makes_folders_and_replaces_at_once(tree: Tree) -> None:
    assert await tree.good("write", path="new/er/x.txt", content="é") == {"path": "new/er/x.txt", "bytes": 2}
    assert (tree.root / "new/er/x.txt").read_text() == "é"
    script = tree.root / "run.sh"
    script.write_text("old")
    script.chmod(0o750)
    before = script.stat().st_ino
    await tree.good("write", path="run.sh", content="new")
    assert script.read_text() == "new"
    assert stat.S_IMODE(script.stat().st_mode) == 0o750
    assert script.stat().st_ino != before
    assert not [name for name in names(tree.root) if name.startswith(".orch-")]


async def test_write_makes_a_missing_root(tree: Tree) -> None:
    tree.root = tree.root / "made" / "later"
    assert await tree.good("write", path="x", content="y")
    assert (tree.root / "x").read_text() == "y"


async def test_edit_replaces_exactly_one_piece(tree: Tree) -> None:
    assert await tree.good("edit", path="a.txt", old="two", new="2") == {"path": "a.txt", "line": 2}
    assert (tree.root / "a.txt").read_text() == "one\n2\nthree\n"
    tree.context = type(tree.context)(**{**_fields(tree.context), "idempotency_key": "key-2"})
    assert "occurs 0 times" in await tree.bad("edit", path="a.txt", old="two", new="2")
    assert "occurs 3 times" in await tree.bad("edit", path="a.txt", old="\n", new="")
    assert "empty" in await tree.bad("edit", path="a.txt", old="", new="x")
    assert (tree.root / "a.txt").read_text() == "one\n2\nthree\n"


async def test_an_edit_keeps_line_ends(tree: Tree) -> None:
    await tree.good("edit", path="sub/deep/c.py", old="sys", new="re")
    assert (tree.root / "sub/deep/c.py").read_bytes() == b"# c\r\nimport re\r\n"


async def test_an_edit_made_again_under_its_key_is_made_once(tree: Tree) -> None:
    for _ in range(3):
        assert await tree.good("edit", path="a.txt", old="two", new="two and two") == {"path": "a.txt", "line": 2}
    assert (tree.root / "a.txt").read_text() == "one\ntwo and two\nthree\n"


async def test_parallel_edits_all_arrive(tree: Tree) -> None:
    import anyio

    (tree.root / "many").write_text("".join(f"<{n}>\n" for n in range(20)))
    async with anyio.create_task_group() as group:
        for number in range(20):
            context = type(tree.context)(**{**_fields(tree.context), "idempotency_key": f"key-{number}"})
            args = {"path": "many", "old": f"<{number}>", "new": f"[{number}]"}
            group.start_soon(perform, {"operation": "edit", "root": str(tree.root), "args": args}, context)
    assert (tree.root / "many").read_text() == "".join(f"[{n}]\n" for n in range(20))


def _fields(context: Any) -> dict[str, Any]:
    return {name: getattr(context, name) for name in context.__dataclass_fields__}


# --- what is not


async def test_hard_links_are_not_read_and_writing_leaves_the_other_name_alone(tree: Tree) -> None:
    assert "hard links" in await tree.bad("read", path="hard.txt")
    assert "hard links" in await tree.bad("edit", path="hard.txt", old="canary", new="x")
    await tree.good("write", path="hard.txt", content="mine")
    assert (tree.outside / "secret.txt").read_text() == CANARY


def attacks() -> list[str]:
    """A thousand paths that lead out of the root, or would if something were followed, decoded or expanded."""
    up = ["..", "../..", "../../..", "sub/../..", "./..", ".//..", "sub/deep/../../..", "a.txt/..", "nowhere/../.."]
    ends = ["outside/secret.txt", "outside", "outside/sub/deep.txt", "outside/new.txt", "etc/passwd", "", "."]
    links = ["link.txt", "folder", "relative", "inner", "loop", "dangling", "fds", "top", "hard.txt", "pipe", "socket"]
    found = [f"{start}/{end}" for start, end in itertools.product(up, ends)]
    found += [f"{start}/{end}" for start, end in itertools.product(links, ends)]
    found += [f"sub/../{link}" for link in links] + [f"sub/../{link}/secret.txt" for link in links]
    found += [f"top{{outside}}/{end}" for end in ends] + [f"fds/{number}" for number in range(40)]
    found += [f"fds/{number}/{end}" for number, end in itertools.product(range(20), ends)]
    found += [f"inner/../../{end}" for end in ends] + [f"sub/\0/../../{end}" for end in ends]
    absolute = [
        "{outside}/secret.txt",
        "/{outside}/secret.txt",
        "{outside}",
        "/etc/passwd",
        "/proc/self/fd/0",
        "/",
        "//",
    ]
    absolute += ["/proc/self/root{outside}/secret.txt", "/proc/self/cwd", "/dev/stdin", "/dev/fd/3", "file://{outside}"]
    found += absolute + [f"sub/..{path}" for path in absolute]
    found += ["a.txt\0", "\0", "a.txt\0.png", "\ud800", "sub/\udcff", "a" * 300, "x/" * 70, "../" * 2_000, "a" * 5_000]
    encoded = [
        "%2e%2e",
        "..%2f",
        "%252e%252e",
        "..\\",
        "\u2024\u2024",
        "\uff0e\uff0e",
        "..;",
        "....//",
        ". .",
        "..\u2215",
    ]
    found += [f"{dots}/{end}" for dots, end in itertools.product(encoded, ends)]
    home = ["~root", "~", "$HOME", "${HOME}", "$(pwd)/..", "`pwd`", "%HOME%", "C:", "\\\\server\\share", "-"]
    found += [f"{start}/../../{end}" for start, end in itertools.product(home, ends)]
    dice = random.Random(7)
    parts = [
        "..",
        ".",
        "",
        "sub",
        "deep",
        "folder",
        "relative",
        "inner",
        "top",
        "outside",
        "secret.txt",
        "~",
        "...",
        "\0",
    ]
    while len(set(found)) < 1_000:
        path = "/".join(dice.choice(parts) for _ in range(dice.randint(2, 9)))
        inside = [part for part in path.split("/") if part not in ("", ".")]
        if not path.startswith("/") and not {"..", "folder", "relative", "inner", "top", "\0"} & set(inside):
            continue  # one that does not lead out
        found.append(path)
    return found


async def test_a_thousand_paths_reach_nothing_outside(tree: Tree) -> None:
    paths = [path.replace("{outside}", str(tree.outside)) for path in attacks()]
    assert len(set(paths)) >= 1_000
    before, inside = tree.outside_state(), sorted(path.name for path in tree.root.iterdir())
    operations = itertools.cycle(["read", "list", "grep", "write", "edit", "glob"])
    ends: dict[str, int] = {}
    for path, operation in [(path, op) for path in paths for op in ("read", next(operations))]:
        args: dict[str, Any] = {"path": path}
        match operation:
            case "write":
                args["content"] = "pwned"
            case "edit":
                args |= {"old": "canary", "new": "pwned"}
            case "grep":
                args["pattern"] = "canary|root:"
            case "glob":
                args = {"pattern": path}
            case _:
                pass
        end = await tree(operation, **args)
        if operation in ("read", "edit"):
            assert isinstance(end, Failed), (path, operation, end)
        assert CANARY not in repr(end), (path, operation, end)
        assert "root:" not in repr(getattr(end, "output", "")), (path, operation, end)
        ends[operation] = ends.get(operation, 0) + 1
        if isinstance(end, Done) and operation == "write":
            assert ".." not in path.split("/")
    assert set(ends) == {"read", "list", "grep", "write", "edit", "glob"}
    assert tree.outside_state() == before
    assert sorted(names(tree.root.parent)) == ["outside", "root", "work"]
    assert set(inside) <= set(names(tree.root))
    assert await tree.good("read", path="a.txt") == "one\ntwo\nthree\n"


async def test_no_special_file_blocks(tree: Tree) -> None:
    assert "no regular file" in await tree.bad("read", path="pipe")
    assert "no regular file" in await tree.bad("write", path="pipe", content="x")
    assert await tree.bad("read", path="socket")
    assert "folder" in await tree.bad("read", path="sub")
    assert await tree.bad("write", path="sub", content="x")
    assert await tree.bad("write", path="sub/", content="x")


async def test_a_root_that_is_not_there(tree: Tree) -> None:
    tree.root = tree.root / "none"
    assert "No such file" in await tree.bad("list")


@pytest.mark.parametrize("operation", ["read", "write", "edit", "list", "grep"])
async def test_a_folder_that_is_swapped_for_a_link_meanwhile(tree: Tree, operation: str) -> None:
    """A thread swaps a folder and a link to the outside as fast as it can."""
    victim, link = tree.root / "race", tree.root / "race-link"
    victim.mkdir()
    (victim / "secret.txt").write_text("inside")
    link.symlink_to(tree.outside)
    stop, libc = threading.Event(), ctypes.CDLL(None)

    def swap() -> None:
        while not stop.is_set():
            assert libc.renameat2(-100, bytes(victim), -100, bytes(link), 2) == 0  # exchange the two at once

    thread = threading.Thread(target=swap)
    thread.start()
    before, reached = tree.outside_state(), 0
    try:
        refused = 0
        for number in itertools.count():
            if number >= 200 and reached and refused:
                break
            args: dict[str, Any] = {"path": "race/secret.txt"}
            if operation == "write":
                args["content"] = "inside"
            elif operation == "edit":
                args |= {"old": "ns", "new": "ns"}
                tree.context = type(tree.context)(**{**_fields(tree.context), "idempotency_key": f"key-{number}"})
            elif operation == "list":
                args = {"path": "race"}
            elif operation == "grep":
                args = {"pattern": "canary", "path": "race"}
            end = await tree(operation, **args)
            assert CANARY not in repr(end)
            refused += isinstance(end, Failed)
            if isinstance(end, Done):
                reached += 1
                if operation == "list":
                    assert "sub" not in [item["name"] for item in end.output]
    finally:
        stop.set()
        thread.join()
    assert tree.outside_state() == before


async def test_no_descriptor_stays_open(tree: Tree) -> None:
    await tree("read", path="a.txt")
    before = len(names("/proc/self/fd"))
    for path in ("a.txt", "link.txt", "folder/x", "pipe", "hard.txt", "sub", "none/x", "../x"):
        for operation in ("read", "list", "grep"):
            await tree(operation, path=path, pattern="x")
        await tree("edit", path=path, old="none such", new="x")
    await tree("glob", pattern="**/*")
    assert len(names("/proc/self/fd")) == before


# --- as models see them


GOOD: dict[str, list[dict[str, Any]]] = {
    "read": [{"path": "a.txt"}, {"path": "a.txt", "offset": 2, "limit": 1}],
    "list": [{"path": "."}],
    "glob": [{"pattern": "**/*.py"}],
    "grep": [{"pattern": "two"}, {"pattern": "two", "path": "a.txt"}],
    "write": [{"path": "n/ew.txt", "content": ""}],
    "edit": [{"path": "a.txt", "old": "two", "new": ""}],
}


@pytest.mark.parametrize("name", FILE_OPERATIONS)
async def test_every_operation_takes_what_its_schema_says(tree: Tree, name: str) -> None:
    schema = FILE_OPERATIONS[name].input
    for args in GOOD[name]:
        assert jsonschema_rs.is_valid(schema, args)
        await tree.good(name, **args)
    assert FILE_OPERATIONS[name].effect == ("idempotent" if name in ("write", "edit") else "read")


def test_split() -> None:
    assert rooted.split("a/./b//c") == ("a", "b", "c")
    assert rooted.split(".") == rooted.split("") == ()
