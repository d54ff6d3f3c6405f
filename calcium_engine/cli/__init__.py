"""The command `calcium`: arguments in, calls out."""

from calcium_engine.cli.entry import main

__all__ = ["main"]
