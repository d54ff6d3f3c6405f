"""Recordings larger than memory: the steps that look at one neuron at a time run on block after block of neurons."""

from calcium_engine.blockwise.run import analyze_in_blocks

__all__ = ["analyze_in_blocks"]
