"""How far a command is: a line on stderr; nothing where nobody watches."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, TypeVar

Shown = TypeVar("Shown", bound="_Line")
INPUT = "input"


class _Line:
    """A line on stderr while the block lasts: a bar with these columns of rich's, and the time left."""

    def __init__(self, quiet: bool, width: int, *columns: str) -> None:
        self._bar: Any = None
        if sys.stderr.isatty() and not quiet:
            from rich import progress
            from rich.console import Console

            made = [getattr(progress, name)() for name in ("BarColumn", *columns, "TimeRemainingColumn")]
            text = progress.TextColumn(f"{{task.description:<{width}}}")
            self._bar = progress.Progress(text, *made, console=Console(stderr=True), transient=True)

    def __enter__(self: Shown) -> Shown:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


class Bytes(_Line):
    """The stage of a conversion, bytes done, throughput and the time left."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet, 10, "DownloadColumn", "TransferSpeedColumn")
        self._tasks: dict[str, Any] = {}

    def show(self, stage: str, done: int, total: int) -> None:
        """Say that `done` bytes of a stage's `total` are done."""
        if self._bar is None:
            return
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._bar.update(task, visible=False)
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)


class Stages(_Line):
    """The stage of an analysis and the time left; so many stages of writing come after its steps."""

    def __init__(self, quiet: bool, writing: int) -> None:
        super().__init__(quiet, 24, "MofNCompleteColumn")
        self.steps = 0  # of which the last stage was one, blocks included
        self._writing = writing
        if self._bar is not None:
            self._task = self._bar.add_task(INPUT, total=None)

    def show(self, stage: str, done: int, steps: int) -> None:
        """Name the stage that begins now; `done` steps of the recipe's `steps` are behind, reading and writing come on top."""
        self.steps = steps
        if self._bar is not None:
            self._bar.update(self._task, description=stage, completed=done + (stage != INPUT), total=1 + steps + self._writing)
