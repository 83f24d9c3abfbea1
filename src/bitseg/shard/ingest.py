"""Turns a batch into one record: checked, deduplicated, grouped, typed and packed, mostly without the lock."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bitseg.columns import Columns, Rejection, by_row
from bitseg.errors import InvalidArgumentError, OverloadedError
from bitseg.grouping import Grouped, Limits, group, well_formed
from bitseg.index.deduplication import digest
from bitseg.index.schema import SchemaDraft
from bitseg.names import MAX_NAME_BYTES, malformed_text
from bitseg.operations import Operation
from bitseg.records import Batch, Change, Deletion
from bitseg.results import IngestResult
from bitseg.runtime.memory import available_bytes
from bitseg.shard.resolve import Resolver
from bitseg.shard.writer import Writer
from bitseg.storage.record_codec import pack_change

# The available memory is checked before a batch that may take more than this.
_LARGE_BATCH_BYTES = 64 * 2**20
# The share of the available memory that is reserved for everything else.
_MEMORY_SHARE = 0.9


@dataclass(slots=True)
class _Prepared:
    """A batch prepared without the lock; the state may have changed since."""

    grouped: Grouped
    # Digests of the message ids that are not duplicates, in order of arrival.
    digests: dict[bytes, None]
    schema: SchemaDraft
    schema_revision: int
    messages_revision: int
    changes: list[Change] = field(default_factory=list)
    packed: list[bytes] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    block_rejections: list[tuple[Rejection, ...]] = field(default_factory=list)


class Ingest:
    """Ingests batches into one workspace; safe to use from many threads."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._state = writer.state

    def take(
        self,
        operations: Sequence[Operation],
        blocks: Sequence[Columns],
        limits: Limits,
        *,
        producer: str | None = None,
        sequence: int = 0,
    ) -> tuple[IngestResult, list[tuple[Rejection, ...]]]:
        """Apply row operations and then blocks of columns as one batch, and wait until it is durable.

        The result counts both and has the rejections of the operations; a list has the rejections of every block.
        Raises InvalidArgumentError for a malformed block and for a gap in a producer's sequence, and OverloadedError
        for a batch that takes more than the available memory; nothing is changed then.
        """
        if producer is not None:
            reason = malformed_text(producer, "producer name", MAX_NAME_BYTES)
            if reason is not None:
                raise InvalidArgumentError(reason)
            if type(sequence) is not int:
                kind = type(sequence).__name__
                raise InvalidArgumentError(
                    f"the sequence {sequence!r} of a batch is of type {kind}, not a whole number"
                )
        checked = [well_formed(block, limits) for block in blocks]
        total = len(operations) + sum(len(block.user_ids) for block in blocks)
        prepared = self._prepared(operations, checked, limits)
        with self._writer.editing():
            if producer is not None and sequence <= self._state.producers.last(producer):
                result = IngestResult(0, total, (), self._state.version)
                block_rejections: list[tuple[Rejection, ...]] = [() for _ in blocks]
            else:
                if producer is not None:
                    self._state.producers.require_next(producer, sequence)
                if self._is_stale(prepared):
                    # Another batch has fixed types or added message ids that affect this one.
                    prepared = self._prepared(operations, checked, limits)
                self._write(prepared, producer, sequence)
                block_rejections = prepared.block_rejections
                rejected = (
                    *prepared.rejections,
                    *(rejection for of_block in block_rejections for rejection in of_block),
                )
                refused = sum(rejection.is_whole_row for rejection in rejected)
                result = IngestResult(
                    total - prepared.grouped.duplicates - refused,
                    prepared.grouped.duplicates,
                    tuple(by_row(prepared.rejections)),
                    self._state.version,
                )
            # Also for a repeated batch, because the first one may not be durable yet.
            record = self._writer.store.last_record
        self._writer.sync(record)
        return result, block_rejections

    def last_sequence(self, producer: str) -> int:
        """The sequence of a producer's last durable batch; 0 before the first."""
        with self._writer.lock:
            last, record = self._state.producers.last(producer), self._writer.store.last_record
        self._writer.sync(record)
        return last

    def _prepared(
        self, operations: Sequence[Operation], checked: Sequence[tuple[Columns, list[Rejection]]], limits: Limits
    ) -> _Prepared:
        index = self._state.index
        digests: dict[bytes, None] = {}
        revisions = index.schema_revision, self._state.messages.revision
        grouped = group(operations, limits, lambda message_id: self._is_repeated(message_id, digests))
        prepared = _Prepared(grouped, digests, SchemaDraft(index), *revisions, rejections=list(grouped.rejections))
        resolver = Resolver(prepared.schema, index.calendar)
        for group_block in grouped.blocks:
            if isinstance(group_block, Deletion):
                prepared.changes.append(group_block)
                continue
            change, rejections = resolver.resolve(group_block)
            prepared.rejections += rejections
            if change is not None:
                prepared.changes.append(change)
        for block, refused in checked:
            if len(block.user_ids):
                change, rejections = resolver.resolve(block)
                refused = refused + rejections
                if change is not None:
                    prepared.changes.append(change)
            prepared.block_rejections.append(tuple(by_row(refused)))
        if self._writer.store.keeps_records:
            prepared.packed = [pack_change(change) for change in prepared.changes]
        return prepared

    def _is_repeated(self, message_id: str, digests: dict[bytes, None]) -> bool:
        message_digest = digest(message_id)
        if message_digest in self._state.messages or message_digest in digests:
            return True
        digests[message_digest] = None
        return False

    def _is_stale(self, prepared: _Prepared) -> bool:
        """Whether types or message ids that affect the batch were added meanwhile; fixed types never change."""
        if not prepared.schema.is_empty and prepared.schema_revision != self._state.index.schema_revision:
            return True
        messages = self._state.messages
        return prepared.messages_revision != messages.revision and not messages.isdisjoint(prepared.digests)

    def _write(self, prepared: _Prepared, producer: str | None, sequence: int) -> None:
        fields = prepared.schema.take_fields()
        batch = Batch(fields, prepared.changes, b"".join(prepared.digests), producer, sequence)
        if not (batch.changes or batch.fields or batch.message_ids or producer is not None):
            return
        self._require_memory(batch)
        self._writer.write(batch, prepared.packed)

    def _require_memory(self, batch: Batch) -> None:
        """Raise OverloadedError for a batch that may take more than the available memory, before it is journalled."""
        needed = self._state.index.bytes_needed(batch)
        if needed < _LARGE_BATCH_BYTES:
            return
        available = int(available_bytes() * _MEMORY_SHARE)
        if needed > available:
            raise OverloadedError(
                f"the batch may take {needed // 2**20:,} MiB of memory, and {available // 2**20:,} MiB are available",
                hint="send smaller batches with fewer names, or give the machine more memory",
            )
