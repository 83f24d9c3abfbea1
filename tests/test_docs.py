"""The documentation against the code: its expressions, commands, limits, tables, snippets and links."""

import ast
import inspect
import json
import keyword
import re
import shlex
from pathlib import Path
from pkgutil import resolve_name

import click
import numpy as np
import pytest

from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS, from_ms
from bitseg.cli.main import cli
from bitseg.entries import entry_kind
from bitseg.errors import SegmentError
from bitseg.operations import Identify
from bitseg.segment import parse
from bitseg.segment.nodes import InBucket
from bitseg.segment.parse import parse_window
from bitseg.segment.validate import validate
from bitseg.service.access import METHOD_ROLES
from bitseg.service.settings import Settings
from bitseg.wire.errors import STATUS_CODES
from tests.conftest import NOW_MS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "bitseg"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(`+)(.+?)\1")
PLACEHOLDERS = {"EXPRESSION", "EXPR", "WINDOW"}


def name_of(page):
    return str(page.relative_to(ROOT))


def fences(language):
    """(page, content) of every fence of a language; "" for fences without one."""
    for page in PAGES:
        for found, content in FENCE.findall(page.read_text()):
            if found == language:
                yield name_of(page), content


def inline_code(page):
    """The code spans of a page, without its fences; a backslash before `|` belongs to the table around it."""
    for _, code in INLINE.findall(FENCE.sub("", page.read_text())):
        yield code.strip().replace("\\|", "|")


def table(page, heading):
    """The rows of the first table whose header begins with a cell, as lists of cells."""
    lines = iter((ROOT / page).read_text().splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    else:
        raise AssertionError(f"{page} has no table headed {heading}")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return rows


# Expressions


def expressions():
    for page, content in fences("bitseg"):
        for line in content.splitlines():
            if line.strip():
                yield pytest.param(line, id=f"{page}: {line.strip()[:60]}")


@pytest.mark.parametrize("text", [*expressions()])
def test_Expression_parses(text):
    validate(parse(text))


def test_Language_page_has_expressions():
    assert sum(page == "docs/language.md" for page, _ in fences("bitseg")) >= 5


# Commands


def command_lines():
    """(page, arguments, output) of each bitseg command in a fence; output is None where the fence shows none."""
    for page, content in fences("sh"):
        for line in content.replace("\\\n", " ").splitlines():
            yield from ((page, words, None) for words in commands(line))
    for page, content in fences(""):
        for piece in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
            line, _, output = piece.partition("\n")
            yield from ((page, words, output) for words in commands(line))


def commands(line):
    """The words after `bitseg` of each bitseg command in a line of shell."""
    words = shlex.split(line, comments=True)
    while words:
        end = next((place for place, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
        command, words = words[:end], words[end + 1 :]
        while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
            del command[0]
        if command and Path(command[0]).name == "bitseg":
            yield command[1:]


def resolved(words):
    """The click command that words name, its context, and the words that remain."""
    command, context, rest = cli, click.Context(cli, info_name="bitseg"), list(words)
    while isinstance(command, click.Group) and rest:
        name = rest.pop(0)
        inner = command.get_command(context, name)
        assert inner is not None, f"there is no command {name!r} in {context.command_path}"
        command, context = inner, click.Context(inner, parent=context, info_name=name)
    return command, context, rest


def options_of(command):
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.mark.parametrize(("page", "words", "output"), [*command_lines()], ids=lambda value: str(value)[:70])
def test_Command_in_a_fence_can_be_given(page, words, output):
    command, context, rest = resolved(words)
    assert not isinstance(command, click.Group)
    given, left_over, _ = command.make_parser(context).parse_args(rest)
    assert not left_over
    missing = [
        parameter.name for parameter in command.params if parameter.required and given.get(parameter.name) in (None, ())
    ]
    assert not missing
    expression, window = given.get("expression"), given.get("window")
    if isinstance(expression, str) and expression not in PLACEHOLDERS:
        if output is not None and output.startswith("error: "):
            with pytest.raises(SegmentError) as caught:
                parse(expression)
            assert output.startswith(f"error: {caught.value.message}\n")
            assert f"hint: {caught.value.hint}\n" in output
        else:
            validate(parse(expression))
    if isinstance(window, str) and window not in PLACEHOLDERS:
        parse_window(window)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_Command_in_a_sentence_exists_with_its_options(page):
    for code in inline_code(page):
        if not code.startswith(("bitseg ", ".venv/bin/bitseg ")):
            continue
        for words in commands(code):
            command, _, rest = resolved(words)
            for word in rest:
                if word.startswith("--"):
                    assert word.partition("=")[0] in options_of(command), code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_Option_in_a_sentence_is_one_of_some_command(page):
    known, pending = set(), [cli]
    while pending:
        command = pending.pop()
        known |= options_of(command)
        pending += command.commands.values() if isinstance(command, click.Group) else []
    for code in inline_code(page):
        if code.startswith("--"):
            assert re.split(r"[ =]", code)[0] in known


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_Make_target_exists(page):
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [code for code in inline_code(page) if code.startswith("make ")]
    lines += [
        line
        for language, content in FENCE.findall(page.read_text())
        if language == "sh"
        for line in content.splitlines()
        if line.startswith("make ")
    ]
    for line in lines:
        named = shlex.split(line, comments=True)[1:]
        assert set(named) <= targets | {"TARGET"}, line


# Tables


def code(path):
    """The value of a name in the package: MODULE:NAME."""
    return resolve_name(f"bitseg.{path}")


def most_buckets():
    """The largest number of buckets that a condition takes."""
    taken, refused = 1, 2**31
    while refused - taken > 1:
        middle = (taken + refused) // 2
        try:
            validate(InBucket(0, 0, middle, ""))
        except SegmentError:
            refused = middle
        else:
            taken = middle
    return taken


UTF8 = "bytes of UTF-8"
LIMITS = {
    "users in a workspace, deleted ones included": lambda: f"{np.iinfo(np.uint32).max:,}",
    "user id": lambda: f"{code('names:MAX_ID_BYTES')} {UTF8}",
    "event, attribute, property, segment, list or producer name": lambda: f"{code('names:MAX_NAME_BYTES')} {UTF8}",
    "message id": lambda: f"{code('names:MAX_MESSAGE_ID_BYTES')} {UTF8}",
    "string value": lambda: f"{code('values:MAX_STRING_BYTES'):,} {UTF8}",
    "items of a list value": lambda: f"{code('values:MAX_LIST_ITEMS'):,}",
    "integer value": lambda: (
        f"at most 2^{code('values:MAX_EXACT_INTEGER').bit_length() - 1} either way; beyond that refused, not rounded"
    ),
    "timestamps": lambda: (
        f"years {from_ms(FIRST_INSTANT_MS).year + 1} to {from_ms(LAST_INSTANT_MS).year - 1}, to the millisecond"
    ),
    "timestamps ahead of the clock": lambda: f"{code('shard.retention:FUTURE_TOLERANCE_MS') // 3_600_000} hour",
    "retention": lambda: f"1 to {code('engine.options:MAX_RETENTION_DAYS'):,} days",
    "attributes": lambda: f"{code('index.schema:MAX_ATTRIBUTES'):,}",
    "event names": lambda: f"{code('index.schema:MAX_EVENT_NAMES'):,}",
    "properties of an event": lambda: f"{code('index.schema:MAX_PROPERTIES'):,}",
    "remembered message ids": lambda: f"at least the last {code('index.deduplication:WINDOW_MESSAGES'):,}",
    "producers": lambda: f"{code('index.deduplication:MAX_PRODUCERS'):,}",
    "saved segments": lambda: f"{entry_kind('segment').limit:,}",
    "lists": lambda: f"{entry_kind('list').limit:,}",
    "ids in one list sent to a server": lambda: f"{code('service.catalog:MAX_LIST_USERS'):,}",
    "description of a segment or list": lambda: f"{code('engine.catalog:MAX_DESCRIPTION_BYTES'):,} {UTF8}",
    "labels of a segment or list": lambda: f"{code('engine.catalog:MAX_LABELS')}",
    "label key": lambda: f"{code('engine.catalog:MAX_LABEL_KEY_BYTES')} {UTF8}",
    "label value": lambda: f"{code('engine.catalog:MAX_LABEL_VALUE_BYTES')} {UTF8}",
    "page of segments or lists": lambda: (
        f"{code('engine.catalog:MAX_PAGE_SIZE'):,}; {code('engine.catalog:DEFAULT_PAGE_SIZE')} by default"
    ),
    "text of an expression": lambda: f"{code('segment.parse:MAX_CHARACTERS'):,} characters",
    "nested parentheses": lambda: f"{code('segment.parse:MAX_PARENTHESES')}",
    "depth of a segment": lambda: f"{code('segment.validate:MAX_DEPTH')} levels",
    "depth of a segment with all that it refers to": lambda: f"{code('catalog:MAX_NESTED_DEPTH')} levels",
    "conditions in a segment": lambda: f"{code('segment.validate:MAX_NODES'):,}",
    "number in a duration": lambda: f"{code('segment.validate:MAX_DURATION'):,}",
    "steps of a sequence after its first event": lambda: f"{code('segment.validate:MAX_STEPS')}",
    "buckets": lambda: f"{most_buckets():,}",
    "pieces of a `contains` pattern": lambda: f"{code('segment.patterns:MAX_PIECES')}",
    "size of a regular expression": lambda: f"{code('segment.patterns:MAX_PROGRAM_SIZE'):,} RE2 instructions",
    "line of JSONL": lambda: f"{code('formats.jsonl:MAX_LINE_BYTES'):,} bytes",
    "message to a server": lambda: f"{Settings().max_message_bytes >> 20} MiB (`--max-message-mib`)",
    "operations and rows in one batch to a server": lambda: f"{code('service.ingest:MAX_BATCH_OPERATIONS'):,}",
    "segments in a `BatchCount`": lambda: f"{code('shard.queries:MAX_BATCH_QUERIES'):,}",
    "sample of an evaluation": lambda: f"{code('shard.queries:MAX_SAMPLE'):,}",
    "page of members": lambda: (
        f"{code('shard.streams:MAX_PAGE_SIZE'):,}; {code('shard.streams:DEFAULT_PAGE_SIZE'):,} by default"
    ),
    "events shown for a condition by explain": lambda: f"{code('query.explain:MAX_EVENTS')}",
    "streams of members at the same time": lambda: f"{Settings().max_streams} (`--max-streams`)",
    "ingest streams at the same time": lambda: f"{Settings().max_producers} (`--max-producers`)",
    "uploads of lists at the same time": lambda: f"{code('service.interceptors.limits:MAX_UPLOADS')}",
    "watchers of the health at the same time": lambda: f"{code('service.interceptors.health:MAX_WATCHERS')}",
    "time for one answer": lambda: f"{Settings().max_query_seconds:g} seconds (`--max-query-seconds`)",
    "members kept for resuming": lambda: (
        f"{code('storage.cursors:MAX_KEPT_BYTES') >> 20} MiB and {code('storage.cursors:MAX_KEPT'):,} streams, "
        f"for {code('storage.cursors:MAX_KEPT_SECONDS') // 3600} hours"
    ),
    "memory of open streams of members": lambda: f"{code('shard.streams:MAX_OPEN_BYTES') >> 20} MiB",
    "snapshot's wait for an idle export": lambda: f"{code('shard.exports:EXPORT_IDLE_SECONDS'):g} seconds",
    "cached conditions": lambda: (
        f"{code('engine.engine:DEFAULT_MATERIALISED_BYTES') >> 20} MiB unless the engine is told otherwise, "
        f"and {code('query.cache:MAX_CONDITIONS'):,}"
    ),
    "prepared queries": lambda: (
        f"{code('query.session:MAX_PREPARED_BYTES') >> 20} MiB and {code('query.session:MAX_PREPARED'):,}"
    ),
    "pinned segments": lambda: f"{code('query.pins:MAX_PINS'):,}",
    "name of a token": lambda: f"{code('service.tokens:MAX_NAME_BYTES')} {UTF8}",
}


def test_Table_of_limits_has_the_rows_that_are_compared():
    assert [row[0] for row in table("docs/limits.md", "what")] == [*LIMITS]


@pytest.mark.parametrize(("what", "limit"), table("docs/limits.md", "what"))
def test_Limit_is_that_of_the_code(what, limit):
    assert limit == LIMITS[what]()


def test_Table_of_methods_has_every_method_of_the_protocol():
    names = {name for row in table("docs/api.md", "service") for name in re.findall(r"`(\w+)`", row[1])}
    assert names == {path.split("/")[-1] for path in METHOD_ROLES if path.startswith("/bitseg.")}


def test_Table_of_errors_has_every_error_beside_its_status():
    rows = {
        status: re.findall(r"`(\w+)`", row[1])
        for row in table("docs/api.md", "status")
        for status in re.findall(r"`(\w+)`", row[0])
    }
    missing = [error.__name__ for error, status in STATUS_CODES.items() if error.__name__ not in rows[status.name]]
    assert not missing


def test_Table_of_metrics_has_the_names_that_the_server_serves():
    source = inspect.getsource(resolve_name("bitseg.service.metrics"))
    served = set(re.findall(r'"(bitseg_\w+)"', source)) | {
        f"bitseg_{what}_age_seconds" for what in ("snapshot", "journal")
    }
    documented = {name for row in table("docs/operations.md", "metric") for name in re.findall(r"`(\w+)`", row[0])}
    # Prometheus adds the ending to the names of counters.
    assert {name.removesuffix("_total") for name in documented} == served


@pytest.mark.parametrize(("option", "default", "_"), table("docs/operations.md", "option"))
def test_Default_of_a_server_option_is_that_of_the_command(option, default, _):
    serve = cli.commands["serve"]
    (parameter,) = (each for each in serve.params if each.opts == [option.strip("`")])
    assert float(default) == parameter.default


def test_Table_of_variables_has_those_that_the_tests_read():
    read = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'environ\.get\("(BITSEG_\w+)"', path.read_text())
    }
    assert {row[0].strip("`") for row in table("CONTRIBUTING.md", "variable")} == read


@pytest.mark.parametrize("message", [row[0].strip("`") for row in table("docs/operations.md", "message")])
def test_Message_in_the_table_is_one_of_the_code(message):
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.parent.name != "pb")
    fragments = [each.strip() for each in re.split(r"\b(?:N|DIR)\b|…|\(|\)", message) if len(each.strip()) > 3]
    assert fragments
    assert all(fragment in source for fragment in fragments)


def test_Formats_are_those_that_the_code_writes_and_reads():
    *older, last = code("storage.snapshot:READABLE")
    sentence = f"writes format {code('storage.snapshot:FORMAT')} and reads {', '.join(map(str, older))} and {last}."
    assert sentence in (ROOT / "docs/operations.md").read_text()


# Snippets


SNIPPETS = [*fences("python")]
# A server that the tests have not.
REMOTE = "bitseg.example.org"


@pytest.mark.parametrize(("page", "content"), SNIPPETS)
def test_Python_snippet_compiles(page, content):
    ast.parse(content, page)


@pytest.mark.parametrize("page", sorted({page for page, _ in SNIPPETS}))
def test_Python_snippets_of_a_page_run_one_after_the_other(page, engine, server, tmp_path, monkeypatch, capsys):
    engine.ingest([Identify(f"u{number}", {"plan": "gold"}, NOW_MS) for number in range(3)])
    engine.catalog.create_segment("Gold", 'plan = "gold"')
    names = {}
    for place, content in enumerate(content for each, content in SNIPPETS if each == page and REMOTE not in content):
        folder = tmp_path / str(place)
        folder.mkdir()
        monkeypatch.chdir(folder)
        exec(compile(content.replace("127.0.0.1:50051", server.address), page, "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    expected = {"README.md": ["1", "['u1']"], "docs/api.md": ["1", "1", "3 ['Charged']", "1", "3 of 3", "0"]}
    assert printed == expected[page]


@pytest.mark.parametrize(("page", "content"), [*fences("json")])
def test_Json_snippet_is_json(page, content):
    for line in content.splitlines():
        json.loads(line)


# Links


def anchors(page):
    """The anchors of a page's headings, as hosting platforms make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_Link_resolves(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_File_named_in_a_sentence_exists(page):
    """Paths as in `docs/api.md`, `service/access.py` or `index/operators/`, from the root or from the package."""
    for span in inline_code(page):
        if re.fullmatch(r"[\w./-]+/[\w.-]+\.(?:py|md|toml|js|json|proto|lark)|[\w./-]+/|\w+\.py", span):
            assert (ROOT / span).exists() or (PACKAGE / span).exists(), span


# Names of the code


def declared():
    """Every name that a module of the package binds at its top, and `Class.member` for every member of a class."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "pb":
            yield path.stem
            yield from declared_in(ast.parse(path.read_text()).body)


def declared_in(body, owner=""):
    for node in body:
        match node:
            case ast.ClassDef(name=name):
                yield owner + name
                yield from declared_in(node.body, f"{name}.")
                yield from (f"{name}.{each}" for each in attributes_of(node))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield owner + name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield owner + name
            case ast.Assign(targets=targets):
                for target in ast.walk(ast.Tuple(targets)):
                    if isinstance(target, ast.Name):
                        yield owner + target.id


def attributes_of(node):
    """What methods set on `self`."""
    for each in ast.walk(node):
        match each:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def test_Name_in_the_architecture_is_declared():
    """Names as in `QuerySession.prepare`, `from_operation` or `REPORTS`, beside the keywords of the language."""
    names = {
        span for span in inline_code(ROOT / "ARCHITECTURE.md") if re.fullmatch(r"[A-Za-z]\w*(?:\.(?!py$)\w+)?", span)
    }
    assert len(names) > 60
    assert {name for name in names if not keyword.iskeyword(name)} <= {*declared()}
