"""How far a conversion is."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Bytes:
    """A line on stderr with the stage, bytes done, throughput and the time left; nothing where nobody watches."""

    def __init__(self, quiet: bool) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        if sys.stderr.isatty() and not quiet:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

            columns = TextColumn("{task.description:<10}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
            self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)

    def show(self, stage: str, done: int, total: int) -> None:
        """Say that `done` bytes of a stage's `total` are done."""
        if self._bar is None:
            return
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._bar.update(task, visible=False)
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)

    def __enter__(self) -> Bytes:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
