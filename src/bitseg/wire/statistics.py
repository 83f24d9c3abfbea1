"""Statistics to protobuf and back."""

from dataclasses import asdict, fields

from bitseg.pb import admin_pb2
from bitseg.results import Statistics
from bitseg.wire.timestamps import from_timestamp, to_timestamp

# The fields that are instants, and their names in the message.
_INSTANTS = {"snapshot_ms": "snapshot_time", "journal_ms": "journal_time"}


def to_statistics(statistics: Statistics) -> admin_pb2.Statistics:
    """The protobuf form of statistics."""
    values = asdict(statistics)
    instants = {_INSTANTS[name]: values.pop(name) for name in _INSTANTS}
    values |= {name: to_timestamp(instant_ms) for name, instant_ms in instants.items() if instant_ms}
    return admin_pb2.Statistics(**values)


def from_statistics(message: admin_pb2.Statistics) -> Statistics:
    """The statistics of a protobuf form."""
    plain = {field.name: getattr(message, field.name) for field in fields(Statistics) if field.name not in _INSTANTS}
    instants = {name: from_timestamp(getattr(message, field)) for name, field in _INSTANTS.items()}
    return Statistics(**plain, **instants)
