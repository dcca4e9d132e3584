"""Writes points as a Parquet file, for notebooks and data frames. The one module that knows pyarrow, an extra.

    id          text: the number, or the UUID
    id_kind     `number` or `uuid`
    payload     text: the payload as JSON
    vector      the unnamed vector, or vector_NAME for each named one:
                dense          fixed_size_list<float32>[size]
                multivector    list<fixed_size_list<float32>[size]>
                sparse         struct<indices: list<uint32>, values: list<float32>>
                null where the point has none

The numbers are the float32 values bit by bit. One that is none, which an opened backup cannot tell from an infinity, is
NaN. The file's metadata hold the collection's name and its vectors' parameters under `qdrant-backup`, as JSON.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, cast

from qdrant_backup.errors import IntegrityFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qdrant_backup.model import Progress
    from qdrant_backup.storage.files import DurableFile

__all__ = ["require_parquet", "write_parquet"]

_GROUP_BYTES = 16 << 20
_METADATA = "qdrant-backup"


def require_parquet() -> None:
    """Whether Parquet can be written here.

    Raises:
        UsageError: pyarrow is not installed.
    """
    _arrow()


def _arrow() -> tuple[Any, Any]:
    """`pyarrow` and `pyarrow.parquet`: imported when a file is written, since that takes a second and many do without."""
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs] - it has none
        import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs] - as above
    except ImportError as error:
        raise UsageError(
            "Parquet cannot be written here",
            why=f"that needs pyarrow, which is not installed with qdrant-backup ({error})",
            advice="Install it: pip install 'qdrant-backup[parquet]'. Or leave out --parquet for lines of JSON.",
        ) from None
    return cast("Any", pa), cast("Any", pq)


class _Columns:
    """The columns of a collection, and how pages of points become batches of rows.

    Args:
        arrow: pyarrow.
        params: `config.params` of the collection.
        about: what stands in the file's metadata.
    """

    def __init__(self, arrow: Any, params: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self._arrow = arrow
        dense: dict[str, Any] = params.get("vectors") or {}
        if isinstance(dense.get("size"), int):
            dense = {"": dense}
        sparse: dict[str, Any] = params.get("sparse_vectors") or {}
        self._vectors = {name: self._dense_type(one) for name, one in sorted(dense.items())}
        self._vectors |= {name: self._sparse_type() for name in sorted(sparse)}
        self._plain = {
            name: _plain_multi if one.get("multivector_config") else _plain_dense for name, one in dense.items()
        }
        texts = [(name, arrow.string()) for name in ("id", "id_kind", "payload")]
        vectors = [(f"vector_{name}" if name else "vector", kind) for name, kind in self._vectors.items()]
        told = json.dumps({**about, "vectors": dense, "sparse_vectors": sparse}, ensure_ascii=False)
        self.schema = arrow.schema([*texts, *vectors], metadata={_METADATA: told})

    def _dense_type(self, one: Mapping[str, Any]) -> Any:
        row = self._arrow.list_(self._arrow.float32(), one["size"])
        return self._arrow.list_(row) if one.get("multivector_config") else row

    def _sparse_type(self) -> Any:
        arrow = self._arrow
        return arrow.struct([("indices", arrow.list_(arrow.uint32())), ("values", arrow.list_(arrow.float32()))])

    def batch(self, points: list[dict[str, Any]]) -> Any:
        """A batch of rows of points as `reading.points` gives them; raises IntegrityFailed where one does not fit."""
        arrow = self._arrow
        vectors = [_named(point["vector"]) for point in points]
        columns = [
            arrow.array([str(point["id"]) for point in points], arrow.string()),
            arrow.array(["number" if isinstance(one["id"], int) else "uuid" for one in points], arrow.string()),
            arrow.array([json.dumps(one["payload"], ensure_ascii=False) for one in points], arrow.string()),
        ]
        try:
            for name, kind in self._vectors.items():
                plain = self._plain.get(name, _plain_sparse)
                columns.append(arrow.array([plain(one[name]) if name in one else None for one in vectors], kind))
        except arrow.ArrowInvalid as error:
            raise IntegrityFailed("A vector does not have the size that its collection says", why=str(error)) from None
        return arrow.record_batch(columns, schema=self.schema)


def _named(vector: Any) -> dict[str, Any]:
    if vector is None:
        return {}
    return cast("dict[str, Any]", vector) if isinstance(vector, dict) else {"": vector}


def _number(number: Any) -> float:
    return math.nan if isinstance(number, str) else number


def _plain_dense(vector: list[Any]) -> list[float]:
    return [_number(one) for one in vector]


def _plain_multi(vector: list[list[Any]]) -> list[list[float]]:
    return [_plain_dense(row) for row in vector]


def _plain_sparse(vector: dict[str, list[Any]]) -> dict[str, Any]:
    return {"indices": vector["indices"], "values": _plain_dense(vector["values"])}


def write_parquet(
    pages: Iterable[list[dict[str, Any]]],
    file: DurableFile,
    *,
    params: Mapping[str, Any],
    about: Mapping[str, Any],
    progress: Progress,
) -> int:
    """Write points to an open file, and return how many they were. About 16 MiB of them are in memory at a time.

    Args:
        pages: points as `reading.points` gives them.
        file: takes the bytes.
        params: `config.params` of the collection.
        about: what the file shall say about itself.
        progress: sees the bytes.

    Raises:
        UsageError: pyarrow is not installed.
        IntegrityFailed: a vector is not of the collection's size.
        NotWritable, InsufficientSpace: as `file` says.
    """
    arrow, parquet = _arrow()
    columns = _Columns(arrow, params, about)
    written = 0
    with parquet.ParquetWriter(
        _Sink(file.write, progress), columns.schema, compression="zstd", use_dictionary=["id_kind"]
    ) as writer:
        group: list[Any] = []
        for page in pages:
            group.append(columns.batch(page))
            written += len(page)
            if sum(batch.nbytes for batch in group) >= _GROUP_BYTES:
                writer.write_table(arrow.Table.from_batches(group))
                group.clear()
        if group:
            writer.write_table(arrow.Table.from_batches(group))
    return written


class _Sink:
    """What pyarrow takes for a file."""

    closed = False

    def __init__(self, write: Callable[[bytes], int], progress: Progress) -> None:
        self._write = write
        self._progress = progress
        self._at = 0

    def write(self, data: bytes) -> int:
        """Append."""
        self._at += self._write(data)
        self._progress.advance(len(data))
        return len(data)

    def tell(self) -> int:
        """How much was written."""
        return self._at

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The file is closed by whoever opened it."""
