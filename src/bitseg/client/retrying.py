"""Retries what failed because a server was unavailable."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from bitseg.client import convert
from bitseg.client.policy import RETRY
from bitseg.errors import BitsegError, NotDurableError, NotReadyError, ServerUnavailableError

Answer = TypeVar("Answer")


def passing_error(error: grpc.RpcError, target: str) -> BitsegError:
    """The error of a failed call if a retry may help; any other error is raised."""
    failure = convert.as_bitseg_error(error, target, None)
    # A stopping server cancels the calls under way.
    is_passing = error.code() is grpc.StatusCode.CANCELLED
    if is_passing or isinstance(failure, ServerUnavailableError | NotReadyError | NotDurableError):
        return failure
    raise failure from None


def retried(attempt: Callable[[], Answer], target: str, retry_seconds: float) -> Answer:
    """The result of an attempt, retried for up to `retry_seconds` while the server is unavailable."""
    retrying = _Retrying(target, retry_seconds)
    while True:
        try:
            return attempt()
        except (grpc.RpcError, ServerUnavailableError) as error:
            wait = retrying.wait_after(error)
        time.sleep(wait)


async def async_retried(attempt: Callable[[], Awaitable[Answer]], target: str, retry_seconds: float) -> Answer:
    """The result of an attempt, retried as by `retried`, in an event loop."""
    retrying = _Retrying(target, retry_seconds)
    while True:
        try:
            return await attempt()
        except (grpc.RpcError, ServerUnavailableError) as error:
            wait = retrying.wait_after(error)
        await asyncio.sleep(wait)


class _Retrying:
    def __init__(self, target: str, retry_seconds: float) -> None:
        self._target = target
        self._deadline = time.monotonic() + retry_seconds
        self._waits = RETRY.waits()

    def wait_after(self, error: grpc.RpcError | ServerUnavailableError) -> float:
        """Seconds until the next attempt; raises the error if a retry cannot help or the time is up."""
        failure = error if isinstance(error, ServerUnavailableError) else passing_error(error, self._target)
        wait = next(self._waits)
        if time.monotonic() + wait > self._deadline:
            raise failure from None
        return wait
