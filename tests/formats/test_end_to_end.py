"""Random histories through files: JSONL on disk, imported, reopened, against the oracle."""

import json
import math
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.formats.jsonl import read_jsonl
from bitseg.formats.load import RejectsFile, load
from bitseg.operations import PAGE_VIEWED, Delete, Identify
from tests.generate import EPOCH, HOUR_MS, Generator
from tests.oracle import Oracle


def as_call(operation):
    """The JSONL line of an operation in the Segment spec."""
    if isinstance(operation, Delete):
        return {"type": "delete", "userId": operation.user_id, "messageId": operation.message_id}
    moment = EPOCH + timedelta(milliseconds=operation.timestamp_ms)
    call = {"userId": operation.user_id, "timestamp": moment.isoformat(), "messageId": operation.message_id}
    if isinstance(operation, Identify):
        return {**call, "type": "identify", "traits": operation.traits}
    if operation.event == PAGE_VIEWED:
        return {**call, "type": "page", "properties": operation.properties}
    return {**call, "type": "track", "event": operation.event, "properties": operation.properties}


def finite(operation):
    """Without infinities, which JSON does not have."""
    if isinstance(operation, Delete):
        return operation
    values = operation.traits if isinstance(operation, Identify) else operation.properties
    for name in [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]:
        del values[name]
    return operation


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63))
def test_Imported_and_reopened_history_answers_as_the_oracle(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("history")
    generator = Generator(seed)
    operations = [finite(operation) for batch in generator.batches() for operation in batch]
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(as_call(operation)) + "\n" for operation in operations))
    clock = FixedClock(generator.now_ms + 100 * 24 * HOUR_MS)
    with Engine.create(folder / "data", WorkspaceSettings(generator.zone), clock=clock) as engine:
        for name, user_ids in generator.lists.items():
            engine.catalog.save_list(name, user_ids)
        for name, condition in generator.saved.items():
            engine.catalog.save_segment(name, condition)
        with RejectsFile(folder / "rejects") as rejects:
            load(read_jsonl(path, engine.calendar, clock.at_ms), engine, rejects, lambda done, account: None)
    oracle = Oracle(generator.zone)
    oracle.lists = {name: list(user_ids) for name, user_ids in generator.lists.items()}
    oracle.segments = generator.saved
    oracle.take(operations)
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    with Engine.open(folder / "data", clock=clock) as engine:
        for _ in range(15):
            segment = generator.segment()
            members = {user for page in engine.members(segment, as_of).pages for user in page}
            assert members == oracle.members(segment, generator.now_ms)
