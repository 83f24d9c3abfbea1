"""Writes Parquet tables of users and of each event. Needs the extra `parquet` (pyarrow).

The schema's metadata names under `bitseg` the columns of the user, the time and the event, for the importer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bitseg.columns import Columns
from bitseg.errors import DataDirectoryError, ImportFileError, file_error
from bitseg.strings import StringArray
from bitseg.values import Column, ValueType, present

METADATA_KEY = b"bitseg"


def export(
    tables: Iterable[tuple[str | None, Mapping[str, ValueType], Iterable[Columns]]], folder: Path
) -> Iterator[tuple[Path, int]]:
    """Write tables into an empty or new folder. Yields the path of every written file and its number of rows.

    A table is an event's name (None for users), the types of its columns, and its blocks. Raises DataDirectoryError if
    the folder is not empty or cannot be written, and ImportFileError without pyarrow.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ImportFileError("writing Parquet needs pyarrow", hint="pip install 'bitseg[parquet]'") from None
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DataDirectoryError(f"{folder} is not empty", hint="use an empty or new directory")
        for number, (event, types, blocks) in enumerate(tables):
            path = folder / _file_name(number, event)
            user, time = _free("user_id", types), _free("time", types)
            mapping: dict[str, str | None] = {"user_column": user, "event": event}
            fields = [(user, pa.string())]
            if event is not None:
                mapping["time_column"] = time
                fields.append((time, pa.timestamp("ms", "UTC")))
            fields += [(name, _arrow_type(value_type)) for name, value_type in types.items()]
            schema = pa.schema(fields, metadata={METADATA_KEY: orjson.dumps(mapping)})
            rows = 0
            with pq.ParquetWriter(path, schema) as writer:
                for block in blocks:
                    arrays = [_texts(StringArray.of(block.user_ids))]
                    if event is not None:
                        arrays.append(pa.array(block.timestamps_ms, pa.timestamp("ms", "UTC")))
                    arrays += [
                        _array(block.values.get(name), value_type, len(block.user_ids))
                        for name, value_type in types.items()
                    ]
                    writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
                    rows += len(block.user_ids)
            yield path, rows
    except OSError as error:
        raise file_error("cannot write", path, error) from error


def _file_name(number: int, event: str | None) -> str:
    if event is None:
        return "users.parquet"
    word = re.sub(r"[^a-z0-9]+", "-", event.lower(), flags=re.ASCII).strip("-")[:60]
    return f"event-{number:04}{'-' if word else ''}{word}.parquet"


def _free(name: str, types: Mapping[str, ValueType]) -> str:
    while name in types:
        name += "_"
    return name


def _arrow_type(value_type: ValueType) -> Any:
    import pyarrow as pa

    return {
        ValueType.STRING: pa.string(),
        ValueType.NUMBER: pa.float64(),
        ValueType.BOOLEAN: pa.bool_(),
        ValueType.DATE: pa.date32(),
        ValueType.DATETIME: pa.timestamp("ms", "UTC"),
        ValueType.LIST: pa.list_(pa.string()),
        ValueType.GEO: pa.struct([("lat", pa.float64()), ("lon", pa.float64())]),
    }[value_type]


def _texts(texts: StringArray) -> Any:
    import pyarrow as pa

    compact = texts.compact()
    offsets = np.concatenate([compact.starts[:1], compact.ends]) if len(compact) else np.zeros(1, np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(compact.data)]
    return pa.Array.from_buffers(pa.large_string(), len(compact), buffers).cast(pa.string())


def _array(column: Any, value_type: ValueType, total: int) -> Any:
    import pyarrow as pa

    kind = _arrow_type(value_type)
    if column is None:
        return pa.nulls(total, kind)
    assert isinstance(column, Column)
    data, missing = column.data, ~present(value_type, column.data)
    match value_type:
        case ValueType.STRING | ValueType.LIST:
            used, codes = np.unique(data[~missing], return_inverse=True)
            places = np.zeros(total, np.int64)
            places[~missing] = codes
            entries = pa.array([column.entries[code] for code in used.tolist()], kind)
            return entries.take(pa.array(places, mask=missing))
        case ValueType.GEO:
            parts = [pa.array(data[:, part], pa.float64()) for part in (0, 1)]
            return pa.StructArray.from_arrays(parts, ["lat", "lon"], mask=pa.array(missing))
        case ValueType.BOOLEAN:
            return pa.array(data == 1, mask=missing)
        case ValueType.DATE:
            return pa.array(np.where(missing, 0, data), pa.int32(), mask=missing).cast(kind)
        case ValueType.DATETIME:
            return pa.array(np.where(missing, 0, data), pa.int64(), mask=missing).cast(kind)
        case ValueType.NUMBER:
            return pa.array(data, kind, mask=missing)
