from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.text import Text

from orchestrator.cli.render.canvas import Canvas


def drawn(canvas: Canvas, file: StringIO, *lines: str) -> str:
    file.seek(0)
    file.truncate()
    canvas.draw([Text(line) for line in lines])
    return file.getvalue()


def test_a_drawing_takes_the_place_of_the_one_before() -> None:
    file = StringIO()
    canvas = Canvas(Console(file=file, width=10, height=5, force_terminal=True, color_system=None))
    assert drawn(canvas, file, "one", "a long line of text") == "one\na long li…\n"
    assert drawn(canvas, file, "two") == "\x1b[2A\r\x1b[Jtwo\n"
    assert drawn(canvas, file) == "\x1b[1A\r\x1b[J"
    assert drawn(canvas, file, "three") == "three\n"


def test_there_are_never_more_lines_than_rows() -> None:
    file = StringIO()
    canvas = Canvas(Console(file=file, width=10, height=3, force_terminal=True, color_system=None))
    assert drawn(canvas, file, "a", "b", "c", "d") == "a\nb\n"


def test_what_a_narrower_window_has_wrapped_goes_with_the_rest() -> None:
    file = StringIO()
    console = Console(file=file, width=10, height=9, force_terminal=True, color_system=None)
    canvas = Canvas(console)
    drawn(canvas, file, "123456789", "1", "")
    console.width = 4
    assert drawn(canvas, file, "new") == "\x1b[5A\r\x1b[Jnew\n"
    drawn(canvas, file, *("1234" for _ in range(8)))
    console.width = 1
    assert drawn(canvas, file).startswith("\x1b[8A")
