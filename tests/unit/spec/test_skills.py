from __future__ import annotations

import hashlib

import pytest

from orchestrator.spec.load import load
from orchestrator.spec.read import spec_of
from orchestrator.spec.skills import MAX_BYTES, MAX_DEPTH, MAX_FILES, MAX_SKILLS

FRONT = "---\nname: {name}\ndescription: What {name} does\n---\n"


def skill(folder, name, text="Do it.\n", *, front=FRONT):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_text(front.format(name=name) + text, encoding="utf-8")


def read(folder, *named):
    """The spec of an agent with these skills."""
    listed = ", ".join(named)
    source = f"version: 1\nsteps: {{a: {{agent: {{skills: [{listed}]}}, prompt: x}}}}\n"
    return spec_of(load(source.encode(), name="p.yaml", folder=folder))


def found(folder, *named):
    spec = read(folder, *named)
    assert [str(one) for one in spec.diagnostics] == []
    return [[one.name for one in skills] for skills in spec.loaded.skills.values()]


def problems(folder, *named):
    return [(one.code, one.message) for one in read(folder, *named).diagnostics]


def test_a_folder_is_a_skill_or_holds_some(tmp_path):
    skill(tmp_path / "many" / "b", "b")
    skill(tmp_path / "many" / "a", "a")
    (tmp_path / "many" / "empty").mkdir()
    (tmp_path / "many" / "readme.md").write_text("x")
    skill(tmp_path / "one", "one")
    skill(tmp_path / "one" / "inner", "inner")
    assert found(tmp_path, "many", "./one", "many/../one") == [["a", "b"], ["one"], ["one"]]


def test_hidden_folders_are_no_skills(tmp_path):
    skill(tmp_path / "many" / "a", "a")
    skill(tmp_path / "many" / ".old", "old")
    skill(tmp_path / ".own" / "b", "b")
    assert found(tmp_path, "many", ".own", "many/.old") == [["a"], ["b"], ["old"]]


def test_a_skill_is_what_its_file_says(tmp_path):
    skill(tmp_path / "s", "cook-2", "\n\n# Cook\n\n---\n\nSlowly.\n")
    one = read(tmp_path, "s").loaded.skills["steps", "a", "agent", "skills", 0][0]
    assert (one.name, one.description, one.text) == ("cook-2", "What cook-2 does", "# Cook\n\n---\n\nSlowly.\n")
    assert one.files == ()


def test_line_ends_of_windows_and_what_others_write_are_read_too(tmp_path):
    (tmp_path / "SKILL.md").write_bytes(
        b"\xef\xbb\xbf---\r\nname: x\r\nlicense: MIT\r\ndescription: |\r\n  Two\r\n  lines\r\n---\r\nText\r\n"
    )
    one = read(tmp_path, ".").loaded.skills["steps", "a", "agent", "skills", 0][0]
    assert (one.name, one.description.split(), one.text) == ("x", ["Two", "lines"], "Text\r\n")


def test_a_skill_may_have_no_text(tmp_path):
    (tmp_path / "SKILL.md").write_text("---\nname: x\ndescription: y\n---")
    assert read(tmp_path, ".").loaded.skills["steps", "a", "agent", "skills", 0][0].text == ""


def test_the_bytes_of_each_file_are_a_source(tmp_path):
    skill(tmp_path / "s", "s")
    (tmp_path / "s" / "other.md").write_text("x")
    loaded = read(tmp_path, "s").loaded
    path = tmp_path / "s" / "SKILL.md"
    assert loaded.sources == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}


def test_other_files_are_listed_but_nothing_hidden(tmp_path):
    skill(tmp_path, "s")
    deep = tmp_path.joinpath(*"abcdefghij")
    deep.mkdir(parents=True)
    for place in (tmp_path / "z.txt", tmp_path / ".hidden", tmp_path / "a" / "x.py", tmp_path / "a" / "b" / "SKILL.md"):
        place.write_text("x")
    for name in (".git", "__pycache__"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inner").write_text("x")
    tmp_path.joinpath(*"abcdefgh"[:MAX_DEPTH], "last").write_text("x")
    (deep / "too_deep").write_text("x")
    (tmp_path / "link").symlink_to("/etc")
    one = read(tmp_path, ".").loaded.skills["steps", "a", "agent", "skills", 0][0]
    assert one.files == ("a/b/SKILL.md", "a/b/c/d/e/f/g/h/last", "a/x.py", "z.txt")


def test_a_folder_has_only_so_many_skills_and_a_skill_so_many_files(tmp_path):
    for n in range(MAX_SKILLS + 1):
        skill(tmp_path / "many" / f"s{n}", f"s{n}")
    assert problems(tmp_path, "many") == [("E116", f"`many` holds over {MAX_SKILLS} skills")]
    skill(tmp_path / "full", "full")
    for n in range(MAX_FILES):
        (tmp_path / "full" / f"f{n}").touch()
    assert problems(tmp_path, "full") == [
        ("E122", f"`full` cannot be read: SKILL.md: over {MAX_FILES:,} files beside it")
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"\xff\xfe", ("E122", "`many` cannot be read: a/SKILL.md: not UTF-8 text")),
        (b"---\nname: \0\n---\n", ("E122", "`many` cannot be read: a/SKILL.md: not text: it holds NUL")),
        (b"x" * 1_048_577, ("E122", "`many` cannot be read: a/SKILL.md: over 1,048,576 bytes")),
        (FRONT.encode() + b"x" * MAX_BYTES, ("E116", f"SKILL.md is over {MAX_BYTES:,} bytes")),
        (b"---\n---\nx", ("E106", "the front matter is no mapping")),
        (b"---\n# nothing\n---\nx", ("E106", "the front matter is no mapping")),
        (b"---\nname: {\n---\nx", ("E102", None)),
        (b"---\nname: !x y\n---\nx", ("E103", None)),
        (b"", ("E105", "SKILL.md has no front matter")),
        (b"---", ("E105", "SKILL.md has no front matter")),
        (b"---\nname: " + b"n" * 65 + b"\ndescription: x\n---\nx", ("E108", None)),
        (b"---\nname: 5\ndescription: x\n---\nx", ("E106", "`name` must be text")),
        (b"---\nname: x\ndescription: ' '\n---\nx", ("E106", "`description` must be text")),
    ],
)
def test_what_is_wrong_with_a_file_is_said_once(tmp_path, body, problem):
    (tmp_path / "many" / "a").mkdir(parents=True)
    (tmp_path / "many" / "a" / "SKILL.md").write_bytes(body)
    said = problems(tmp_path, "many")
    assert [code for code, _ in said] == [problem[0]]
    assert problem[1] in (None, said[0][1])
    again = problems(tmp_path, "many", "many")
    assert len(again) == (2 if problem[0] == "E122" else 1)
