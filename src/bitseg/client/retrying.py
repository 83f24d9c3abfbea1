"""Doing again what failed because a server was away."""

import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from bitseg.client import convert
from bitseg.errors import BitsegError, NotDurableError, NotReadyError, ServerUnavailableError

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 2.0

Answer = TypeVar("Answer")


def passing_error(error: grpc.RpcError, target: str) -> BitsegError:
    """The error that a failed call stands for; raised where the server will not answer in a while either."""
    found = convert.as_bitseg_error(error, target, None)
    # A server that stops cancels what is under way.
    is_passing = error.code() is grpc.StatusCode.CANCELLED
    if is_passing or isinstance(found, ServerUnavailableError | NotReadyError | NotDurableError):
        return found
    raise found from None


class Retrying:
    """Waits between attempts, longer each time, for so many seconds in all."""

    def __init__(self, retry_seconds: float) -> None:
        self._deadline = time.monotonic() + retry_seconds
        self._wait_seconds = _FIRST_WAIT_SECONDS

    def next_wait(self, error: BitsegError) -> float:
        """Seconds until the next attempt; raises the error of the last where there is no more time."""
        if time.monotonic() + self._wait_seconds > self._deadline:
            raise error
        wait, self._wait_seconds = self._wait_seconds, min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)
        return wait


def retried(attempt: Callable[[], Answer], target: str, retry_seconds: float) -> Answer:
    """What an attempt returns, made again while the server is away."""
    retrying = Retrying(retry_seconds)
    found: BitsegError
    while True:
        try:
            return attempt()
        except grpc.RpcError as error:
            found = passing_error(error, target)
        except ServerUnavailableError as error:
            found = error
        time.sleep(retrying.next_wait(found))
