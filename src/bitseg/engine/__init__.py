"""The engine: a workspace that takes operations and answers segments."""

from bitseg.engine.engine import Engine, Workspace

__all__ = ["Engine", "Workspace"]
