"""A way to a server that breaks: a TCP proxy that cuts each connection after a number of bytes."""

import socket
import threading


class BreakingProxy:
    """Forwards connections to HOST:PORT, and cuts each once `cut_after_bytes` have come back over it; None never."""

    def __init__(self, target, cut_after_bytes=None):
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.cut_after_bytes = cut_after_bytes
        self.connections = 0
        self._open = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listening.close()
        self.cut()

    def cut(self):
        """Cut all connections."""
        for each in self._open:
            _close(each)

    def _accept(self):
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            threading.Thread(target=self._forward, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._forward, args=(far, near, self.cut_after_bytes), daemon=True).start()

    def _forward(self, source, sink, limit):
        """Copy what comes, up to a limit; what was copied arrives, for the connection is ended and not torn down."""
        total = 0
        try:
            while data := source.recv(4_096):
                if limit is None or total < limit:
                    sink.sendall(data)
                    total += len(data)
                    if limit is not None and total >= limit:
                        sink.shutdown(socket.SHUT_WR)
        except OSError:
            total = -1
        _close(source)
        _close(sink)


def _close(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other end was faster.
        connection.close()
    connection.close()
