"""The engine that the services share, from when it is there."""

from bitseg.engine import Engine
from bitseg.errors import NotReadyError


class Readiness:
    """Where the services find the engine, which may take a while to open."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the engine is there."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The engine; NotReadyError until it is there."""
        if self._engine is None:
            raise NotReadyError("the server is opening its workspace", hint="try again in a while")
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._engine = engine
