"""A point as the REST API gives and takes it: what it holds, exactly, and whether a server takes it."""

from __future__ import annotations

import contextlib
import functools
import math
import struct
from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.digest import ABSENT, payload_hash, vector_hash, vector_part
from qdrant_backup.storage.points_file import PointState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["content_of_point", "content_of_record", "content_of_writable", "exact_point", "state_of", "unwritable"]


def _named_vectors(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point's vectors by name; the unnamed one is the empty string."""
    vector = point.get("vector")
    if vector is None:
        return {}
    return cast("dict[str, Any]", vector) if isinstance(vector, dict) else {"": vector}


def content_of_point(point: Mapping[str, Any] | None) -> bytes | None:
    """What a point holds, as bytes that are equal for equal payloads and vectors; None for no point."""
    if point is None:
        return None
    if unwritable(point):  # JSON has no NaN, so there is no hash of its bits; such a point equals itself alone.
        return repr((point.get("payload"), sorted(_named_vectors(point).items()))).encode()
    return content_of_writable(point)


def content_of_writable(point: Mapping[str, Any]) -> bytes:
    """As `content_of_point`, for a point of which `unwritable` says nothing."""
    vectors = sorted(_named_vectors(point).items())
    return b"".join([payload_hash(point.get("payload")), *(name.encode() + vector_hash(one) for name, one in vectors)])


def content_of_record(payload: Mapping[str, Any], record: bytes, vector_names: Sequence[str]) -> bytes:
    """As `content_of_writable`, for this payload with the vectors of a record in a digest of these (sorted) names."""
    hashes = ((name, vector_part(record, vector_names, name)) for name in vector_names)
    return b"".join([payload_hash(payload), *(name.encode() + found for name, found in hashes if found != ABSENT)])


def state_of(point: Mapping[str, Any], content: bytes) -> PointState:
    """A point that a server takes, with its content, ready to be written to a file and to a server."""
    return PointState(msgspec.Raw(msgspec.json.encode(point)), content)


@functools.lru_cache(maxsize=256)
def _packing(length: int) -> struct.Struct:
    return struct.Struct(f"@{length}f")


def _exact(values: Sequence[float]) -> list[float]:
    """The float32 values that a server's decimals stand for; written as JSON they come back bit for bit.

    Qdrant writes the shortest decimal that names the float32. Its exact value has up to 17 digits, which any reader,
    also one that goes by way of double precision, rounds to the very same bits.
    """
    packing = _packing(len(values))
    return list(packing.unpack(packing.pack(*values)))


def _exact_vector(vector: Any) -> Any:
    if isinstance(vector, dict):
        entries = cast("dict[str, list[Any]]", vector)
        return {"indices": entries["indices"], "values": _exact(entries["values"])}
    numbers = cast("list[Any]", vector)
    if numbers and isinstance(numbers[0], list):
        return [_exact(row) for row in numbers]
    return _exact(numbers)


def exact_point(point: Mapping[str, Any]) -> dict[str, Any]:
    """The point as it is written to a server: {id, payload, vector}, each number the exact float32 value."""
    vector = point.get("vector")
    exact = {name: _exact_vector(one) for name, one in _named_vectors(point).items()}
    written = exact if vector is None or isinstance(vector, dict) else exact[""]
    return {"id": point["id"], "payload": point.get("payload") or {}, "vector": written}


def _finite(values: Sequence[Any]) -> bool:
    # One that is not finite makes the sum so too, and None cannot be added: number by number it takes ten times as long.
    with contextlib.suppress(TypeError, OverflowError):
        if math.isfinite(sum(values)):
            return True
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)


def unwritable(point: Mapping[str, Any]) -> str:
    """The name of a vector that no server takes, for a number in it is NaN or infinite; None is how JSON shows one.

    Returns:
        Words for a message; empty when all is well.
    """
    for name, vector in _named_vectors(point).items():
        if isinstance(vector, dict):
            rows = [cast("dict[str, list[Any]]", vector)["values"]]
        else:
            numbers = cast("list[Any]", vector)
            rows = cast("list[list[Any]]", numbers) if numbers and isinstance(numbers[0], list) else [numbers]
        if not all(_finite(row) for row in rows):
            return f"vector {name!r}" if name else "its vector"
    return ""
