"""The threads that run calls. Each kind of call has its own, so that none can hold up the others."""

from concurrent.futures import ThreadPoolExecutor

# For calls with one request and one response.
UNARY_THREADS = 64
# Streams that are refused, and those that have just ended, need threads beyond what the limits allow.
_SPARE_STREAM_THREADS = 8
_OPEN_THREADS = 8


class ThreadPools:
    """The pools of a server, with a thread for each of the `max_streams` that its limits allow."""

    def __init__(self, max_streams: int) -> None:
        self.unary = ThreadPoolExecutor(UNARY_THREADS, thread_name_prefix="bitseg")
        self.streams = ThreadPoolExecutor(max_streams + _SPARE_STREAM_THREADS, thread_name_prefix="bitseg-stream")
        # These need no credentials, so that anybody could occupy them.
        self.health = ThreadPoolExecutor(_OPEN_THREADS, thread_name_prefix="bitseg-health")
        self.refusals = ThreadPoolExecutor(_OPEN_THREADS, thread_name_prefix="bitseg-refusal")

    def close(self) -> None:
        """End the threads that have ended their calls; the others follow when they have."""
        for pool in (self.unary, self.streams, self.health, self.refusals):
            pool.shutdown(wait=False)
