"""The engine that all services share, once it is open."""

from bitseg.engine import Engine
from bitseg.errors import NotReadyError


class Readiness:
    """Holds the engine for the services, which take calls while it is still being opened."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    @property
    def is_ready(self) -> bool:
        """True once there is an engine."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The engine; NotReadyError while it is being opened."""
        if self._engine is None:
            raise NotReadyError("the server is opening its workspace", hint="retry later")
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._engine = engine
