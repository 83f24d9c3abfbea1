"""Several shards as one workspace, without a network: splits records and merges answers like a cluster's router."""

from dataclasses import replace
from functools import reduce

import numpy as np
import xxhash

from bitseg.calendar import Calendar
from bitseg.grouping import Limits, group
from bitseg.index.schema import EmptySchema, SchemaDraft
from bitseg.query.session import Moment
from bitseg.records import Batch, Deletion, EntriesChanged, EntryChange
from bitseg.reports.count import Count
from bitseg.segment import format
from bitseg.shard.resolve import Resolver
from bitseg.shard.shard import LocalShard


class Router:
    """Splits records by user, gives all shards one schema and one moment, and merges reports."""

    def __init__(self, count, zone):
        self.calendar = Calendar(zone)
        self.shards = [LocalShard(self.calendar, {}, None, 2**24) for _ in range(count)]
        self._schema = SchemaDraft(EmptySchema())
        self._resolver = Resolver(self._schema, self.calendar)
        self._message_ids: set[str] = set()

    def shard_of(self, user_id):
        return xxhash.xxh3_64_intdigest(user_id.encode()) % len(self.shards)

    def ingest(self, operations, limits=None):
        """Apply operations as one record of every shard; a shard's record may have no rows."""

        def is_repeated(message_id):
            is_known = message_id in self._message_ids
            self._message_ids.add(message_id)
            return is_known

        grouped = group(operations, limits or Limits(), is_repeated)
        by_shard = [[] for _ in self.shards]
        for block in grouped.blocks:
            change = block if isinstance(block, Deletion) else self._resolver.resolve(block)[0]
            for shard, part in enumerate(self._split(change)):
                if len(part.user_ids):
                    by_shard[shard].append(part)
        fields = self._schema.take_fields()
        for shard, changes in zip(self.shards, by_shard, strict=True):
            shard.write(Batch(fields, changes))

    def save_list(self, name, user_ids):
        for number, shard in enumerate(self.shards):
            mine = [user_id for user_id in user_ids if self.shard_of(user_id) == number]
            shard.write(EntriesChanged([EntryChange("list", name, [mine, "", {}, 0, 0])]))

    def save_segment(self, name, condition):
        for shard in self.shards:
            shard.write(EntriesChanged([EntryChange("segment", name, [format(condition), "", {}, 0, 0])]))

    def report(self, report, now_ms):
        """The report over all shards at one moment."""
        partials = [shard.report(report, Moment(now_ms, is_live=False)) for shard in self.shards]
        return report.finish(reduce(report.merge, partials))

    def count(self, condition, now_ms):
        return self.report(Count(condition), now_ms)

    def members(self, condition, now_ms):
        def moment(_):
            return Moment(now_ms, is_live=False)

        members = set()
        for shard in self.shards:
            stream = shard.queries.stream(condition, None, moment, 0, "", is_dense=False)
            for page in stream.members(shard.queries.external_ids).pages:
                assert members.isdisjoint(page), "a user is on two shards"
                members.update(page)
        return members

    def _split(self, change):
        owners = np.array([self.shard_of(user_id) for user_id in change.user_ids], np.int64)
        for shard in range(len(self.shards)):
            rows = np.flatnonzero(owners == shard)
            if isinstance(change, Deletion):
                yield Deletion([change.user_ids[row] for row in rows])
            else:
                values = {name: _taken(values, rows, len(owners)) for name, values in change.values.items()}
                yield replace(
                    change,
                    user_ids=change.user_ids.take(rows),
                    timestamps_ms=change.timestamps_ms[rows],
                    values=values,
                )


def _taken(values, rows, total):
    """The values of some rows of a block; the rows ascend."""
    places = np.full(total, -1)
    places[rows] = np.arange(len(rows))
    own = np.arange(total) if values.rows is None else values.rows
    keep = places[own] >= 0
    data = values.data[keep] if values.type is not None else values.data
    return replace(values, rows=places[own[keep]].astype(np.uint32), data=data)
