"""Two ways to watch the demo: a live board on a terminal with rich, plain lines anywhere else."""

import importlib.util
import shutil
import sys
from typing import Any, Protocol, Self, TextIO

from user_lib.demo.scene import Board, Scene

__all__ = ["BoardView", "LineView", "View", "choose_view"]

BOARD_REST_ROWS = 19
"""Rows of the board that are not lines of what happened."""


class View(Protocol):
    """What draws a scene."""

    def draw(self, scene: Scene) -> None:
        """Show the scene as it is now."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def choose_view(stream: TextIO) -> View:
    """Return the live board where there is a terminal and rich, else plain lines."""
    if stream is sys.stdout and stream.isatty() and importlib.util.find_spec("rich"):
        return BoardView()
    return LineView(stream)


class LineView:
    """Writes each line once, as it happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def draw(self, scene: Scene) -> None:
        """Write the new lines."""
        for line in scene.new_lines():
            self._stream.write(line + "\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class BoardView:
    """Redraws the vehicles, the jobs and the newest lines in place; leaves the last picture."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(refresh_per_second=8)

    def draw(self, scene: Scene) -> None:
        """Redraw."""
        rows = shutil.get_terminal_size().lines
        self._live.update(_drawing(scene.board(max(6, rows - BOARD_REST_ROWS))))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()


def _drawing(board: Board) -> Any:  # noqa: ANN401 - rich is an extra; its types stay in here
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    vehicles = Table("vehicle", "model", "link", "tasks", expand=True, box=None)
    for row in board.vehicles:
        vehicles.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    jobs = Table("job", "results", "rounds", "latest", expand=True, box=None)
    for row in board.jobs:
        jobs.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    lines = Text("\n".join(board.lines), no_wrap=True, overflow="ellipsis")
    return Group(
        Panel(vehicles, title="vehicles", title_align="left"),
        Panel(jobs, title="jobs", title_align="left"),
        Panel(lines, title=board.step, title_align="left"),
    )
