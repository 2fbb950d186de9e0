"""A drawing at the foot of a terminal, which is replaced by the next one, whatever size the window has by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class Canvas:
    """Lines that are drawn over and over. ``console`` is that of the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths: list[int] = []

    def draw(self, lines: list[Text]) -> None:
        """Put these lines in the place of those before: each on one row, and never more than there are rows."""
        width, height = self._console.size
        shown = lines[: max(height - 1, 1)]
        for line in shown:
            line.truncate(width, overflow="ellipsis")
        with self._console.capture() as drawn:
            for line in shown:
                self._console.print(line, no_wrap=True, overflow="ignore", crop=False)
        self._write(self._erasing(width, height) + drawn.get())
        self._widths = [line.cell_len for line in shown]

    def erase(self) -> None:
        """Take the drawing away."""
        self._write(self._erasing(*self._console.size))
        self._widths = []

    def _erasing(self, width: int, height: int) -> str:
        # A terminal that became narrower has wrapped what was drawn: it takes more rows now than it did.
        rows = sum(max(-(-cells // width), 1) for cells in self._widths)
        return f"\x1b[{min(rows, height - 1)}A\r\x1b[J" if rows and height > 1 else ""

    def _write(self, text: str) -> None:
        if text:
            self._console.file.write(text)
            self._console.file.flush()
