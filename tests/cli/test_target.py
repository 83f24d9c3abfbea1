"""Commands work on a server as on a data directory: local times, and commands made from a kind."""

import io
import json

import click
import pytest
from click.testing import CliRunner

from bitseg.cli.main import cli
from bitseg.cli.named import Kind, resource_commands
from bitseg.cli.output import progress
from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.errors import ImportFileError, InvalidArgumentError
from bitseg.files import read_file, read_text
from tests.conftest import NOW_MS


@pytest.fixture
def engine():
    """A workspace in New York, at noon UTC of 2024-01-31."""
    return Engine(WorkspaceSettings("America/New_York"), clock=FixedClock(NOW_MS))


@pytest.fixture
def run(server, tmp_path, monkeypatch):
    """Run a command on the server; returns its standard output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(cli, [*arguments, "--server", server.address], catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    return run


def test_Local_times_are_those_of_the_workspace_of_a_server(run, engine, tmp_path):
    line = {"type": "track", "userId": "u", "event": "E", "timestamp": "2024-01-30T23:00:00"}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    run("import", "in.jsonl")
    assert engine.count('did "E" on 2024-01-30').count == 1
    assert run("count", 'did "E" today', "--as-of", "2024-01-30") == "1\n"
    assert run("count", 'did "E"', "--as-of", "2024-01-30T22:59:59") == "0\n"
    assert run("count", 'did "E"', "--as-of", "2024-01-31T04:00:00Z") == "1\n"


def test_Set_takes_details_and_an_etag(run, engine):
    run("segments", "set", "S", "n = 1", "--description", "d", "--label", "a=b")
    run("segments", "set", "S", "n = 2", "--etag", engine.catalog.get_segment("S").etag)
    saved = engine.catalog.get_segment("S")
    assert (saved.text, saved.details.description, saved.details.labels) == ("n = 2", "d", {"a": "b"})


def test_Kind_makes_the_commands_of_a_group(engine, server):
    @click.group()
    def group():
        """Lists by another name."""

    resource_commands(
        group,
        Kind(
            "list",
            "lists",
            fields=lambda user_list: {"ids": user_list.size},
            line=lambda user_list: f"{user_list.size} ids",
            used_by="x",
        ),
    )
    engine.catalog.create_list("vip", ["a", "b"])

    def run(*arguments):
        result = CliRunner().invoke(group, [*arguments, "--server", server.address], catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    assert sorted(group.commands) == ["delete", "list", "rename", "show", "update"]
    assert run("list") == "vip: 2 ids\n"
    run("update", "vip", "--description", "d", "--label", "a=b")
    run("rename", "vip", "guests")
    shown = json.loads(run("show", "guests", "--json"))
    assert (shown["name"], shown["ids"], shown["description"], shown["labels"]) == ("guests", 2, "d", {"a": "b"})
    assert "ids: 2\n" in run("show", "guests")
    assert "label a: b\n" in run("show", "guests")
    run("delete", "guests")
    assert run("list") == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("total", [200, None])
def test_Progress_is_drawn_on_a_terminal(monkeypatch, total):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("loading", total) as advance:
        advance(50, "50 rows", total=200)
        advance(200, "200 rows", total=200)
    drawn = terminal.getvalue()
    assert "loading" in drawn
    assert "100%" in drawn
    assert "200 rows" in drawn


def test_Progress_is_not_drawn_elsewhere(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    with progress("loading", 200) as advance:
        advance(200, "200 rows")
    assert file.getvalue() == ""


def test_Files_are_read_or_the_error_names_them(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9")
    assert read_text(path, ImportFileError) == "café"
    path.write_bytes(b"caf\xe9")
    assert read_file(path, ImportFileError) == b"caf\xe9"
    with pytest.raises(ImportFileError, match=f"cannot read the token in {path}: it is not UTF-8 at byte 3"):
        read_text(path, ImportFileError, "the token")
    with pytest.raises(InvalidArgumentError, match=f"cannot read {path}x: No such file"):
        read_file(tmp_path / "filex", InvalidArgumentError)
