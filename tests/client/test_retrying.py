"""How long clients wait before a retry."""

import asyncio
import itertools
import json

import grpc
import pytest

from bitseg.client import retrying
from bitseg.client.connection import channel_options
from bitseg.client.policy import RETRY, RetryPolicy
from bitseg.client.retrying import async_retried, retried
from bitseg.errors import NotFoundError, ServerUnavailableError


def test_Waits_grow_up_to_the_longest_and_have_full_jitter():
    policy = RetryPolicy(first_seconds=0.5, longest_seconds=4, multiplier=3, attempts=4)
    assert list(itertools.islice(policy.waits(lambda: 1.0), 5)) == [0.5, 1.5, 4, 4, 4]
    assert list(itertools.islice(policy.waits(lambda: 0.0), 3)) == [0, 0, 0]
    waits = list(itertools.islice(RETRY.waits(), 200))
    assert all(0 <= wait <= RETRY.longest_seconds for wait in waits)
    assert len(set(waits)) > 150


def test_Channels_have_the_same_policy():
    config = json.loads(dict(channel_options())["grpc.service_config"])
    (method_config,) = config["methodConfig"]
    assert method_config["retryPolicy"] == {
        "maxAttempts": RETRY.attempts,
        "initialBackoff": f"{RETRY.first_seconds}s",
        "maxBackoff": f"{RETRY.longest_seconds}s",
        "backoffMultiplier": RETRY.multiplier,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }


class Failing:
    """An attempt that fails a number of times."""

    def __init__(self, times, error):
        self.times, self.error, self.made = times, error, 0

    def __call__(self):
        self.made += 1
        if self.made <= self.times:
            raise self.error
        return "answer"

    async def wait(self):
        return self()


def both(attempt, seconds):
    """The outcome of both retry loops, the second one with a fresh attempt."""
    yield lambda: retried(attempt, "server:1", seconds)
    yield lambda: asyncio.run(async_retried(attempt.wait, "server:1", seconds))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    policy = RetryPolicy(first_seconds=0.01, longest_seconds=0.01, multiplier=1, attempts=4)
    monkeypatch.setattr(retrying, "RETRY", policy)


def test_Attempt_is_retried_while_the_server_is_unavailable():
    attempt = Failing(5, ServerUnavailableError("away"))
    for run in both(attempt, 10):
        attempt.made = 0
        assert run() == "answer"
        assert attempt.made == 6


def test_Attempts_end_when_the_time_is_up():
    attempt = Failing(10**9, ServerUnavailableError("away"))
    for run in both(attempt, 0.1):
        with pytest.raises(ServerUnavailableError, match="away"):
            run()
    assert attempt.made > 4


def test_Error_that_stays_is_raised_at_once():
    class Missing(grpc.RpcError, grpc.Call):
        def code(self):
            return grpc.StatusCode.NOT_FOUND

        def details(self):
            return "no such thing"

    for error, kind in ((NotFoundError("nothing"), NotFoundError), (_rpc_error("NOT_FOUND"), Exception)):
        attempt = Failing(1, error)
        for run in both(attempt, 10):
            attempt.made = 0
            with pytest.raises(kind):
                run()
            assert attempt.made == 1


def _rpc_error(code):
    class Failed(grpc.RpcError):
        def code(self):
            return grpc.StatusCode[code]

        def details(self):
            return "told by the server"

        def trailing_metadata(self):
            return ()

    return Failed()


def test_Cancellation_by_a_stopping_server_is_retried():
    attempt = Failing(2, _rpc_error("CANCELLED"))
    for run in both(attempt, 10):
        attempt.made = 0
        assert run() == "answer"
