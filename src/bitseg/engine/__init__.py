"""The engine: a workspace that takes operations and answers segments."""

from bitseg.engine.engine import Engine, WorkspaceSettings

# The name in 0.1.
Workspace = WorkspaceSettings

__all__ = ["Engine", "Workspace", "WorkspaceSettings"]
