"""The command line as users run it: in its own processes, with files, sockets and signals."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bitseg.cli.main import main
from bitseg.operations import Identify
from tests.conftest import COMMAND, NOW_MS

pytestmark = pytest.mark.slow

USERS = "id,country,plan\nann,US,gold\nbob,US,free\ncyd,CA,gold\n"
ORDERS = "customer,day,amount\nann,30/01/2024,20\nann,31/01/2024,5.5\nbob,31/01/2024,x\n"
ORDER_OPTIONS = ["--user-column", "customer", "--event", "Ordered", "--time-column", "day", "--time-format", "%d/%m/%Y"]


def bitseg(folder, *arguments, status=0, stdin=None):
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    """A folder with a workspace of three users and two orders."""
    (tmp_path / "users.csv").write_text(USERS)
    (tmp_path / "orders.csv").write_text(ORDERS)
    bitseg(tmp_path, "import", "users.csv", "--user-column", "id")
    bitseg(tmp_path, "import", "orders.csv", *ORDER_OPTIONS, "--type", "amount=number")
    return tmp_path


def test_Import_prints_its_summary_and_writes_rejects(folder):
    done = bitseg(folder, "import", "orders.csv", *ORDER_OPTIONS, "--type", "amount=number", "--json")
    summary = json.loads(done.stdout)
    assert summary == {
        "file": "orders.csv",
        "accepted": 3,
        "duplicates": 0,
        "rejected_lines": 0,
        "rejected_values": 1,
        "rejects": "orders.csv.rejects.jsonl",
    }
    assert "orders.csv.rejects.jsonl" in done.stderr
    assert 'properties of "Ordered": amount (number)' in done.stderr


def test_Count_prints_the_number_alone(folder):
    assert bitseg(folder, "count", 'country = "US"').stdout == "2\n"
    assert bitseg(folder, "count", 'did "Ordered" at least 2 times', "--as-of", "2024-01-31").stdout == "1\n"
    assert bitseg(folder, "count", 'did "Ordered" at least 2 times', "--as-of", "2024-01-30T12:00:00Z").stdout == "0\n"
    explained = bitseg(folder, "count", 'country = "US" and not did "Ordered"', "--explain")
    assert explained.stderr.split()[:2] == ["estimated", "users"]
    assert [line.split()[1] for line in explained.stderr.splitlines()[1:3]] == [explained.stdout.strip(), "2"]
    assert 'did "Ordered"' in explained.stderr
    answer = json.loads(bitseg(folder, "count", 'did "Orderd"', "--json").stdout)
    assert (answer["count"], answer["version"]) == (0, 3)
    assert "Ordered" in answer["warnings"][0]


def test_Members_prints_ids_one_per_line(folder):
    assert bitseg(folder, "members", 'plan = "gold"').stdout == "ann\ncyd\n"
    assert bitseg(folder, "members", 'plan = "gold"', "--limit", "1").stdout == "ann\n"
    assert bitseg(folder, "members", 'plan = "gold"', "--limit", "0").stdout == ""
    assert json.loads(bitseg(folder, "members", 'plan = "gold"', "--json").stdout)["members"] == ["ann", "cyd"]


def test_Format_prints_canonical_text_and_json_that_count_reads(folder):
    assert bitseg(folder, "format", 'NOT(country="US")').stdout == 'not country = "US"\n'
    (folder / "segment.json").write_text(bitseg(folder, "format", 'country = "US"', "--json").stdout)
    assert bitseg(folder, "count", "--definition", "segment.json").stdout == "2\n"


def test_Error_shows_where_and_what_to_do(folder):
    done = bitseg(folder, "count", "country = US", status=1)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[2:4] == ["  country = US", "            ^"]
    assert "double quotes" in lines[4]
    assert 'did you mean "country"?' in bitseg(folder, "count", 'contry = "US"', status=1).stderr


def test_Explain_shows_every_condition_with_its_values_and_events(folder):
    text = 'country = "US" and did "Ordered" with sum(amount) > 30 in last 3 days'
    done = bitseg(folder, "explain", "ann", text, "--as-of", "2024-01-31")
    assert done.stdout.splitlines() == [
        f"no   {text}",
        '  yes  country = "US"',
        '         is "US"',
        '  no   did "Ordered" with sum(amount) > 30 in last 3 days',
        "         2 of the user's 2 such events so far count; sum(amount) is 25.5",
        "         window from 2024-01-29T00:00:00+00:00 until before 2024-02-01T00:00:00+00:00 (UTC)",
        '         2024-01-30T00:00:00+00:00  Ordered  {"amount":20.0}',
        '         2024-01-31T00:00:00+00:00  Ordered  {"amount":5.5}',
    ]
    answer = json.loads(bitseg(folder, "explain", "ann", "country is set", "--json").stdout)
    assert answer["explanation"] == {"condition": "country is set", "matches": True, "value": "US"}
    assert answer["timezone"] == "UTC"
    assert 'no user "zed"' in bitseg(folder, "explain", "zed", "everyone", status=1).stderr


def test_Explain_window_prints_the_interval_in_the_zone_of_the_workspace(tmp_path):
    bitseg(tmp_path, "init", "--timezone", "Europe/Madrid")
    done = bitseg(tmp_path, "explain-window", "in last 3 days", "--as-of", "2023-10-30")
    assert done.stdout.splitlines() == [
        "from 2023-10-28T00:00:00+02:00 until before 2023-10-31T00:00:00+01:00 (Europe/Madrid)",
        "in UTC 2023-10-27T22:00:00Z until before 2023-10-30T23:00:00Z",
        "73 hours",
    ]
    done = bitseg(tmp_path, "explain-window", "in next 7 days", "--timezone", "UTC", "--as-of", "2024-01-31", "--json")
    assert json.loads(done.stdout) == {
        "start": "2024-01-31T00:00:00Z",
        "end": "2024-02-07T00:00:00Z",
        "local_start": "2024-01-31T00:00:00+00:00",
        "local_end": "2024-02-07T00:00:00+00:00",
        "timezone": "UTC",
    }
    done = bitseg(tmp_path, "explain-window", "before 2024-01-31")
    assert done.stdout == "ever until before 2024-01-31T00:00:00+01:00 (Europe/Madrid)\n"
    done = bitseg(tmp_path, "explain-window", "in last 3 dyas", status=1)
    assert done.stderr.splitlines()[2:4] == ["  in last 3 dyas", "            ^"]


DEFAULT_NAMES = [
    "Active this week",
    "Active today",
    "Have never done anything",
    "Have not logged in recently",
    "New this week",
    "Regulars",
]


def test_New_workspace_has_default_segments_that_can_be_counted(folder):
    listed = json.loads(bitseg(folder, "segments", "list", "--json").stdout)
    assert [each["name"] for each in listed] == DEFAULT_NAMES
    assert all(each["description"] and each["created"] for each in listed)
    for name in DEFAULT_NAMES:
        assert bitseg(folder, "count", f'in segment "{name}"').stdout.strip().isdigit()


@pytest.fixture
def inline(folder, monkeypatch, capsys):
    """The command as `bitseg` runs it, but in this process, which is a hundred times faster."""
    monkeypatch.chdir(folder)

    def run(*arguments, status=0, stdin=""):
        monkeypatch.setattr(sys, "argv", ["bitseg", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        assert code == status, printed.err
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    return run


def test_Segments_and_lists_are_saved_shown_used_and_deleted(folder, inline):
    for name in DEFAULT_NAMES:
        inline("segments", "delete", name)
    catalog(folder, inline)


def test_Segments_and_lists_of_a_server_too(folder, inline, engine, server):
    engine.ingest([Identify("ann", {"country": "US", "plan": "gold"}, NOW_MS), Identify("bob", {}, NOW_MS)])
    catalog(folder, inline, "--server", server.address)


def catalog(folder, inline, *target):
    """Runs all commands for segments and lists on an empty catalog."""

    def run(*arguments, **options):
        return inline(*arguments, *target, **options)

    run("segments", "set", "American", 'country = "US"')
    run("segments", "create", "Golden", 'in segment "American" and plan = "gold"', "--label", "team=crm")
    assert "already" in run("segments", "create", "Golden", "everyone", status=1).stderr
    (folder / "ids.txt").write_text("ann\nnobody\n\n")
    (folder / "ids.csv").write_text("name,id\nAnn,ann\nCid,cid\n")
    assert run("lists", "set", "vip", "ids.txt").stdout == "2\n"
    assert run("lists", "set", "piped", "-", stdin="bob\n").stdout == "1\n"
    assert run("lists", "create", "table", "ids.csv", "--column", "id", "--description", "From CSV").stdout == "2\n"
    assert "no column" in run("lists", "set", "table", "ids.csv", "--column", "nix", status=1).stderr
    assert run("members", 'in segment "Golden" and in list "vip" and in list "table"').stdout == "ann\n"
    assert run("segments", "list").stdout.splitlines() == [
        'American: country = "US"',
        'Golden: in segment "American" and plan = "gold"',
    ]
    assert run("segments", "list", "--contains", "GOLD", "--label", "team=crm").stdout.startswith("Golden: ")
    assert run("segments", "list", "--label", "team=ads").stdout == ""
    shown = json.loads(run("segments", "show", "American", "--json").stdout)
    assert shown["expression"] == 'country = "US"'
    run("segments", "update", "American", "--description", "From there", "--etag", shown["etag"])
    stale = run("segments", "update", "American", 'country = "CA"', "--etag", shown["etag"], status=1)
    assert "has changed since it was read" in stale.stderr
    text = run("segments", "show", "American").stdout
    assert 'expression: country = "US"\n' in text
    assert "description: From there\n" in text
    sizes = {each["name"]: each["size"] for each in json.loads(run("lists", "list", "--json").stdout)}
    assert sizes == {"piped": 1, "table": 2, "vip": 2}
    assert "description: From CSV\n" in run("lists", "show", "table").stdout
    assert '"Golden"' in run("segments", "delete", "American", status=1).stderr
    assert "refer to itself" in run("segments", "set", "American", 'in segment "Golden"', status=1).stderr
    run("segments", "clone", "Golden", "Silver")
    run("segments", "rename", "American", "US")
    assert 'expression: in segment "US" and plan = "gold"' in run("segments", "show", "Silver").stdout
    run("lists", "rename", "piped", "by pipe")
    run("lists", "update", "by pipe", "--label", "a=b")
    for name in ("Silver", "Golden", "US"):
        run("segments", "delete", name)
    for name in ("vip", "table", "by pipe"):
        run("lists", "delete", name)
    assert run("segments", "list").stdout == run("lists", "list").stdout == ""
    assert "no segment" in run("segments", "show", "American", status=1).stderr
    assert "cannot read" in run("lists", "set", "vip", "missing.txt", status=1).stderr


def test_Schema_is_declared_and_listed(folder):
    bitseg(folder, "schema", "set", "signup_at", "datetime")
    bitseg(folder, "schema", "set", "note", "string", "--event", "Ordered")
    assert bitseg(folder, "schema", "list").stdout.splitlines() == [
        "country: string, attribute",
        "plan: string, attribute",
        "signup_at: datetime, attribute, declared",
        'amount: number, property of "Ordered"',
        'note: string, property of "Ordered", declared',
    ]
    assert "string already" in bitseg(folder, "schema", "set", "plan", "number", status=1).stderr
    (folder / "more.csv").write_text("id,signup_at\nann,soon\n")
    bitseg(folder, "import", "more.csv", "--user-column", "id", "--type", "signup_at=datetime")
    rejected = json.loads((folder / "more.csv.rejects.jsonl").read_text())
    assert rejected == {"line": 2, "name": "signup_at", "reason": "expected a datetime, got 'soon'"}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["count"], 2, "give an expression"),
        (["count", "everyone", "--definition", "x"], 2, "give an expression"),
        (["count", "--definition", "missing.json"], 1, "cannot read"),
        (["count", "everyone", "--data", "nowhere"], 1, "no workspace"),
        (["count", "everyone", "--server", "127.0.0.1:1"], 1, "no bitseg server"),
        (["count", "everyone", "--as-of", "soon"], 2, "not an instant"),
        (["count", "everyone", "--as-of", "2024-01-31", "--server", "127.0.0.1:1"], 1, "no bitseg server"),
        (["import", "missing.jsonl"], 1, "cannot read"),
        (["import", "users.xyz"], 2, "format"),
        (["import", "users.csv"], 2, "--user-column"),
        (["import", "users.csv", "--user-column", "nobody"], 1, "no column 'nobody'"),
        (["import", "users.csv", "--user-column", "id", "--event", "E"], 2, "--time-column"),
        (["import", "users.csv", "--user-column", "id", "--type", "plan=colour"], 2, "types are"),
        (["import", "users.csv", "--user-column", "id", "--delimiter", "ab"], 2, "delimiter"),
        (["import", "orders.csv", *ORDER_OPTIONS[:-1], "days"], 2, "time format"),
        (["init"], 1, "already"),
        (["init", "--data", "new", "--timezone", "Mars/Olympus"], 2, "IANA"),
        (["init", "--data", "new", "--retention-days", "0"], 2, "retention"),
        (["serve", "--listen", "nonsense"], 2, "HOST:PORT"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_Mistake_gets_a_message_and_a_status(folder, arguments, status, words):
    done = bitseg(folder, *arguments, status=status)
    assert words in done.stderr
    assert done.stdout == ""


def test_Init_fixes_the_time_zone(tmp_path):
    bitseg(tmp_path, "init", "--timezone", "America/New_York")
    event = '{"type": "track", "userId": "u", "event": "E", "timestamp": "2024-01-31T03:00:00Z"}'
    bitseg(tmp_path, "import", "-", "--format", "jsonl", stdin=event)
    assert bitseg(tmp_path, "count", 'did "E" on 2024-01-30').stdout == "1\n"
    assert bitseg(tmp_path, "count", 'did "E" today', "--as-of", "2024-01-30").stdout == "1\n"


def test_Environment_names_the_data_directory(folder):
    environment = {**os.environ, "BITSEG_DATA": str(folder / "bitseg-data")}
    done = subprocess.run([COMMAND, "count", "everyone"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_Reader_that_leaves_early_is_not_an_error(folder):
    done = subprocess.run(
        f"{COMMAND} members everyone | head -1", shell=True, cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == "ann\n"
    assert "Traceback" not in done.stderr


def wait_for_address(process):
    for line in process.stderr:
        if " on 127.0.0.1:" in line:
            return line.split(" on ")[1].split(";")[0]
    raise AssertionError(f"the server ended with {process.wait()}")


def test_Server_answers_the_same_commands_and_saves_changes(folder):
    serve = [COMMAND, "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(serve, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        address = wait_for_address(process)
        assert bitseg(folder, "count", 'country = "US"', "--server", address).stdout == "2\n"
        assert bitseg(folder, "members", 'plan = "gold"', "--server", address).stdout == "ann\ncyd\n"
        (folder / "more.csv").write_text("id,country\ndee,US\n,US\n")
        done = bitseg(folder, "import", "more.csv", "--user-column", "id", "--server", address)
        assert "1 rows imported, 0 repeated, 1 rejected" in done.stdout
        assert json.loads((folder / "more.csv.rejects.jsonl").read_text())["line"] == 3
        assert "open in another process" in bitseg(folder, "count", "everyone", status=1).stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert bitseg(folder, "count", 'country = "US"').stdout == "3\n"


def test_Killed_server_says_what_it_recovered(folder):
    serve = [COMMAND, "serve", "--listen", "127.0.0.1:0", "--sync", "interval"]
    with subprocess.Popen(serve, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        address = wait_for_address(process)
        (folder / "more.csv").write_text("id,country\ndee,US\n")
        bitseg(folder, "import", "more.csv", "--user-column", "id", "--server", address)
        process.kill()
    (journal,) = (folder / "bitseg-data").glob("journal-*")
    with journal.open("ab") as file:
        file.write(b"half a rec")
    done = bitseg(folder, "count", 'country = "US"')
    assert done.stdout == "3\n"
    assert "cut 10 bytes off the journal" in done.stderr
    assert ".torn" in done.stderr
    assert "0 records of the journal" in bitseg(folder, "verify", "bitseg-data").stderr


def test_Backup_is_verified_and_restored(folder):
    assert bitseg(folder, "snapshot").stdout.startswith("version ")
    assert bitseg(folder, "statistics").stdout.splitlines()[1:3] == ["users: 3", "events: 3"]
    assert json.loads(bitseg(folder, "statistics", "--json").stdout)["snapshot_bytes"] > 0
    bitseg(folder, "backup", "kept")
    assert "3 users, 3 events, all sound" in bitseg(folder, "verify", "kept").stdout
    assert "has a workspace already" in bitseg(folder, "restore", "kept", status=1).stderr
    bitseg(folder, "restore", "kept", "--data", "again")
    assert bitseg(folder, "count", 'country = "US"', "--data", "again").stdout == "2\n"
    parts = max((folder / "kept").glob("parts-*"))
    damaged = bytearray(parts.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    parts.write_bytes(damaged)
    for arguments in (
        ["verify", "kept"],
        ["restore", "kept", "--data", "third"],
        ["count", "everyone", "--data", "kept"],
    ):
        errors = bitseg(folder, *arguments, status=1).stderr
        assert f"{parts.name} is damaged at byte" in errors
        assert "restore a backup" in errors
    assert not (folder / "third").exists()


def test_Export_is_read_back_by_import(folder):
    typed = {"n": 1.5, "s": "2024-01-01x", "b": True, "d": "2024-01-01", "t": "2024-01-01T10:00:00Z"}
    more = {"l": ["a", "b"], "g": {"lat": 1, "lon": 2}, "time": "x", "user_id": 7}
    lines = [
        {"type": "identify", "userId": "é", "traits": {**typed, **more}},
        {"type": "identify", "userId": "nobody", "traits": {}},
        {"type": "track", "userId": "é", "event": "Odd / name", "properties": {**typed, **more}},
        {"type": "track", "userId": "é", "event": "Ordered", "properties": {"amount": -0.5}},
    ]
    for line in lines[2:]:
        line["timestamp"] = "2024-01-31T10:00:00Z"
    (folder / "all.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    bitseg(folder, "import", "all.jsonl")
    done = bitseg(folder, "export", "out")
    assert "users.parquet: 5 rows" in done.stdout
    assert "is not empty" in bitseg(folder, "export", "out", status=1).stderr
    files = sorted((folder / "out").iterdir())
    assert [path.name for path in files] == [
        "event-0001-ordered.parquet",
        "event-0002-odd-name.parquet",
        "users.parquet",
    ]
    done = bitseg(folder, "import", *files, "--data", "again")
    assert done.stdout.count(" 0 rejected, 0 single values left out") == 3
    for data in ("bitseg-data", "again"):
        found = bitseg(folder, "explain", "é", 'did "Odd / name" and n = 1.5 and l has "b"', "--data", data).stdout
        assert "user_id" in found
        schema = set(bitseg(folder, "schema", "list", "--data", data).stdout.splitlines())
        assert 'time: string, property of "Odd / name"' in schema
        assert "g: geo, attribute" in schema
        assert bitseg(folder, "count", "everyone", "--data", data).stdout == "5\n"
        assert bitseg(folder, "count", 'did "Ordered" with sum(amount) > 25', "--data", data).stdout == "1\n"
    texts = [
        bitseg(folder, "explain", "é", 'did "Odd / name" and did "Ordered"', "--data", data).stdout
        for data in ("bitseg-data", "again")
    ]
    assert texts[0] == texts[1]


def test_Interrupted_import_keeps_whole_batches_and_says_so(tmp_path):
    lines = "".join(f'{{"type": "identify", "userId": "u{number}"}}\n' for number in range(30_000))
    with subprocess.Popen(
        [COMMAND, "import", "-", "--format", "jsonl"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdin.write(lines)
        process.stdin.flush()
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert int(bitseg(tmp_path, "count", "everyone").stdout) >= 10_000


def test_Demo_is_deterministic_and_counts_five_segments(tmp_path):
    first, second = (
        bitseg(tmp_path, "demo", "--users", "2000", "--no-serve", "--listen", "127.0.0.1:0") for _ in range(2)
    )

    def counts(done):
        return [line.split(" users")[0] for line in done.stdout.splitlines() if " users " in line or " users," in line]

    assert counts(first) == counts(second)
    assert len(counts(first)) == 6
    assert all(int(line.split()[-1].replace(",", "")) > 0 for line in counts(first)[1:])


def test_Demo_writes_its_files(tmp_path):
    done = bitseg(tmp_path, "demo", "--users", "100", "--write", "store")
    assert done.stdout.split() == ["store/users.jsonl", "store/events.jsonl"]
    done = bitseg(tmp_path, "import", "store/users.jsonl", "store/events.jsonl")
    assert [line.split(", ", 1)[1] for line in done.stdout.splitlines()] == [
        "0 repeated, 0 rejected, 0 single values left out"
    ] * 2


def test_Python_module_runs_too():
    done = subprocess.run([sys.executable, "-m", "bitseg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("bitseg, version")
