"""The load test of `bench/load.py`, for a short while: no errors, and memory that stays as it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCH = Path(__file__).parents[1] / "bench"


def test_Server_under_load_makes_no_errors_and_keeps_its_size(tmp_path):
    command = [
        sys.executable,
        BENCH / "load.py",
        "--seconds",
        "20",
        "--users",
        "50000",
        "--json",
        tmp_path / "load.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "load.json").read_text())
    assert (found["server_exit_status"], found["server_log"]) == (0, [])
    # Beyond the data that the load adds, the server keeps its size.
    assert found["bytes_grown_beyond_data"] < found["resident_bytes_after_warm_up"] * 0.05 + 24 * 2**20
    assert [each["clients"] for each in found["stages"]] == [1, 4, 16, 64]
    for each in found["stages"]:
        assert each["errors"] == {}
        # 20 calls a second, on a machine that does other things as well.
        assert each["calls"] > 100
        assert each["milliseconds"].keys() == {"all", "Count", "Evaluate", "IngestBatch", "StreamMembers"}
