"""The threads of calls. Every kind of call has a pool of its own, so that it cannot delay the others."""

from concurrent.futures import ThreadPoolExecutor

# For calls with one request and one response.
UNARY_THREADS = 64
# Refused streams, and streams that have just ended, need threads beyond the limits.
_SPARE_STREAM_THREADS = 8
_OPEN_THREADS = 8


class ThreadPools:
    """The pools of a server, with a thread for every stream that its limits allow."""

    def __init__(self, max_streams: int) -> None:
        self.unary = ThreadPoolExecutor(UNARY_THREADS, thread_name_prefix="bitseg")
        self.streams = ThreadPoolExecutor(max_streams + _SPARE_STREAM_THREADS, thread_name_prefix="bitseg-stream")
        # Separate, because these calls need no credentials and anybody could occupy the threads.
        self.health = ThreadPoolExecutor(_OPEN_THREADS, thread_name_prefix="bitseg-health")
        self.refusals = ThreadPoolExecutor(_OPEN_THREADS, thread_name_prefix="bitseg-refusal")

    def close(self) -> None:
        """End idle threads at once, and the others after their calls."""
        for pool in (self.unary, self.streams, self.health, self.refusals):
            pool.shutdown(wait=False)
