"""A caller in another language, which knows nothing of bitseg but its .proto files."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bitseg.engine import Engine
from bitseg.operations import Identify
from bitseg.service.access import Role
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from bitseg.service.tokens import TokenFile
from tests.conftest import NOW_MS
from tests.proxy import BreakingProxy

pytestmark = [pytest.mark.slow, pytest.mark.network]

HERE = Path(__file__).with_name("node")
PROTO = Path(__file__).parents[2] / "proto"
USERS = 5_000


@pytest.fixture
def node_folder(request):
    """A folder with the packages of the client, kept from run to run."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} cannot be found on the path")
    folder = Path(request.config.cache.mkdir("bitseg-node"))
    for name in ("package.json", "client.js"):
        shutil.copy(HERE / name, folder)
    if not (folder / "node_modules" / "roaring").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install the packages of the client: {done.stderr.strip()[-300:]}")
    return folder


def test_Node_client_counts_evaluates_streams_ingests_and_manages_segments(node_folder, tmp_path):
    token = TokenFile(tmp_path / "tokens.json").create("node", Role.WRITER)
    with Engine.open(tmp_path / "data") as engine:
        engine.ingest([Identify(f"u{number}", {"n": number % 20}, NOW_MS) for number in range(USERS)])
        server = Server(engine, Settings(address="127.0.0.1:0", tokens=tmp_path / "tokens.json"))
        server.start()
        expected = [user for page in engine.members("n >= 10").pages for user in page]
        dense = [int(user) for page in engine.dense_members("n >= 10").pages for user in page]
        try:
            # So that every connection carries a few pages.
            with BreakingProxy(server.address, cut_after_bytes=8_000) as proxy:
                arguments = [str(PROTO), server.address, proxy.address, token]
                done = subprocess.run(
                    ["node", "client.js", *arguments],
                    cwd=node_folder,
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
        finally:
            server.stop(0)
        assert done.returncode == 0, done.stderr
        output = json.loads(done.stdout)
        assert output["count"] == len(expected) == USERS // 2
        assert output["wrong"]["code"] == "INVALID_ARGUMENT"
        assert output["evaluated"] == {"count": len(expected), "sample": 3}
        assert output["bitmap"] == dense
        assert output["streamed"]["connections"] > 2
        assert output["streamed"]["total"] == len(expected)
        assert output["streamed"]["user_ids"] == expected
        assert output["ingested"] == [
            {"last": 0, "accepted": 0},
            {"last": 1, "accepted": 1},
            {"last": 2, "accepted": 1},
        ]
        assert output["bought"] == 1
        assert engine.last_sequence("node") == 2
        catalog = output["catalog"]
        assert catalog["expression"] == "n < 10"
        assert catalog["description"] == "Written by Node"
        assert catalog["stale"]["code"] == "ABORTED"
        assert catalog["used"]["code"] == "FAILED_PRECONDITION"
        assert '"Above"' in catalog["used"]["details"]
        assert catalog["above"] == 'in segment "By Node" and n > 2'
        assert catalog["above_count"] == engine.count("n < 10 and n > 2").count
        assert (catalog["list_size"], catalog["list_count"]) == (3, 2)
        assert catalog["found"] == ["By Node"]
