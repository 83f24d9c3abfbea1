"""A server whose workspace broke says so to its callers, ends with an error, and starts again with what was safe."""

import subprocess
import sys

import pytest

from bitseg import Client, Engine, Track
from bitseg.errors import BitsegError, WorkspaceBrokenError

pytestmark = pytest.mark.slow

SERVE = """
import sys
from bitseg.cli.main import main
from bitseg.index.events import Event

append = Event.append

def failing(self, users, *rest):
    append(self, users, *rest)
    if self.name == "Boom":
        raise MemoryError("no memory for the second half")

Event.append = failing
sys.argv = ["bitseg", "serve", "--data", sys.argv[1], "--listen", "127.0.0.1:0"]
main()
"""


def test_Server_with_a_broken_workspace_ends_with_an_error_and_saves_nothing_of_the_change(tmp_path):
    data = tmp_path / "data"
    with subprocess.Popen([sys.executable, "-c", SERVE, data], stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr.readline, "")
        address = next(line.split(" on ")[1].split(";")[0] for line in lines if line.startswith("serving"))
        with Client(address, retry_seconds=0) as client:
            client.ingest([Track("safe", "Paid", {}, 1_700_000_000_000)])
            with pytest.raises(BitsegError):
                client.ingest(
                    [Track("lost", "Paid", {}, 1_700_000_000_000), Track("lost", "Boom", {}, 1_700_000_000_000)]
                )
            with pytest.raises(BitsegError) as raised:
                client.count("everyone")
            assert isinstance(raised.value, WorkspaceBrokenError) or "no bitseg server answers" in str(raised.value)
        assert process.wait(timeout=20) == 1
        rest = process.stderr.read()
    assert "a change failed midway (MemoryError: no memory for the second half)" in rest
    with Engine.open(data, create=False) as engine:
        assert [user for page in engine.members("everyone").pages for user in page] == ["safe"]
        assert engine.count('did "Paid"').count == 1
