"""The engine: a workspace that takes operations and answers segments."""

from bitseg.engine.engine import Engine
from bitseg.engine.options import WorkspaceSettings

# The name in version 0.1.
Workspace = WorkspaceSettings

__all__ = ["Engine", "Workspace", "WorkspaceSettings"]
