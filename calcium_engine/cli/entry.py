"""Run one command and turn whatever happens into an exit code and at most one line on stderr."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from calcium_engine.cli.parser import build_parser
from calcium_engine.schema import CalciumError, NeuronsWarning

EXIT_ERROR = 1
EXIT_BUG = 70  # EX_SOFTWARE of BSD's sysexits
EXIT_SIGNAL = 128  # plus the signal's number, as shells have it


class _SignalReceived(BaseException):
    """The process was asked to end; raised so that temporary files are removed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `calcium` and return its exit code.

    0: done. 1: the input or the request cannot be served, and one line on stderr says why. 2: the arguments are wrong.
    130, 143: ended by Ctrl-C, by SIGTERM. 70: a fault of the program.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks Δ is no reason to fail
            stream.reconfigure(errors="replace")
    with _one_line_warnings(), _ending_by_exception():
        try:
            arguments = build_parser().parse_args(argv)
            arguments.command(arguments)
            sys.stdout.flush()
        except SystemExit as ending:  # argparse has said what there was to say
            return int(ending.code or 0)
        except (KeyboardInterrupt, _SignalReceived) as ending:
            number = ending.number if isinstance(ending, _SignalReceived) else signal.SIGINT
            return _fail("; ".join(["interrupted", *getattr(ending, "__notes__", [])]), EXIT_SIGNAL + number)
        except BrokenPipeError:
            # Whoever read our output has left. Python would complain once more when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_SIGNAL + 13  # SIGPIPE, which Windows has no name for
        except MemoryError as error:
            return _fail(f"not enough memory for this recording: {error}", EXIT_ERROR)
        except OSError as error:
            return _fail(f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error), EXIT_ERROR)
        except CalciumError as error:
            return _fail(str(error), EXIT_ERROR)
        except Exception as error:
            return _fail(f"this is a bug ({type(error).__name__}: {error}); CALCIUM_DEBUG=1 shows where", EXIT_BUG)
    return 0


def _fail(message: str, code: int) -> int:
    if os.environ.get("CALCIUM_DEBUG"):
        traceback.print_exc()
    _say("error", message)
    return code


def _say(kind: str, message: object) -> None:
    print(f"calcium: {kind}: {' '.join(str(message).split())}", file=sys.stderr)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show our own warnings as one line, and keep those that libraries address to programmers to ourselves."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if category in (UserWarning, NeuronsWarning):
            _say("warning", message)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def _ending_by_exception() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the program as Ctrl-C does, so that no half result is left behind."""

    def unwind(number: int, frame: FrameType | None) -> None:
        raise _SignalReceived(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # only the main thread may set handlers
    before = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
