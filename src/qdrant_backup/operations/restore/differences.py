"""How two collections' configs and payload indexes differ, and whether a version can take a backup. Pure.

Facts: `CollectionParams::check_compatible` (lib/collection/src/config.rs) refuses other vectors and another shard count;
nothing on the server compares sparse vectors or sharding, so that is done here. A recreated collection loses
`read_fan_out_factor` and `read_fan_out_delay_ms`, gets a new `uuid`, and answers absent keys as null.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

__all__ = [
    "FAN_OUT",
    "Difference",
    "IndexChanges",
    "VersionVerdict",
    "differences",
    "index_changes",
    "index_definition",
    "normal_config",
    "normal_schema",
    "version_verdict",
]

FAN_OUT = ("read_fan_out_factor", "read_fan_out_delay_ms")
_IDENTITY = frozenset({"uuid"})
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.|$)")
# What of a vector's parameters decides what is stored and how it is compared; the rest only tunes.
_SHAPE_OF_VECTOR = frozenset({"size", "distance", "multivector_config", "datatype"})
_SHAPE_OF_SPARSE = frozenset({"modifier", "index.datatype"})
_BLOCKING = frozenset({"params.shard_number", "params.sharding_method"})
_DEFAULTS: Mapping[str, Any] = {"params.sharding_method": "auto", "params.shard_number": 1}
_DEFAULT_TYPE = "float32"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One field that the backup and the target have differently; `null` where it is absent.

    Attributes:
        field: its path in the config, such as `params.vectors.size` or `hnsw_config.m`.
        backup: the backup's value.
        target: the target's.
        blocking: the data would not fit; False where it only tunes.
    """

    field: str
    backup: Any
    target: Any
    blocking: bool

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.backup)} in the backup, {_shown(self.target)} on the server"


def _shown(value: Any) -> str:
    return "absent" if value is None else msgspec.json.encode(value).decode()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return {key: _without_nulls(inner) for key, inner in pairs if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(inner) for inner in cast("list[Any]", value)]
    return value


def normal_config(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A config in which equal means equal: without nulls and without the collection's own random uuid."""
    return {key: value for key, value in _without_nulls(config or {}).items() if key not in _IDENTITY}


def _flat(value: Any, path: str, into: dict[str, Any]) -> None:
    """Leaves by their path; an empty section is one that is absent."""
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            _flat(inner, f"{path}.{key}" if path else key, into)
    else:
        into[path] = value


def _is_single(vectors: Mapping[str, Any]) -> bool:
    return isinstance(vectors.get("size"), int)


def _fields(config: Mapping[str, Any] | None) -> dict[str, Any]:
    normal = normal_config(config)
    params = dict(cast("dict[str, Any]", normal.get("params") or {}))
    vectors: dict[str, Any] = params.pop("vectors", None) or {}
    sparse: dict[str, Any] = params.pop("sparse_vectors", None) or {}
    into: dict[str, Any] = {}
    _flat({**normal, "params": params}, "", into)
    named = {f"params.sparse_vectors[{name}]": one for name, one in sparse.items()}
    if _is_single(vectors):
        named["params.vectors"] = vectors
    else:
        named |= {f"params.vectors[{name}]": one for name, one in vectors.items()}
    for path, one in named.items():
        into[path] = "present"
        _flat(one, path, into)
    return into


def _blocks(field: str) -> bool:
    if field in _BLOCKING or field.endswith("]") or field == "params.vectors":
        return True
    if field.startswith("params.vectors"):
        rest = field.rpartition("]")[2].removeprefix("params.vectors").lstrip(".")
        return rest.split(".", 1)[0] in _SHAPE_OF_VECTOR
    if field.startswith("params.sparse_vectors"):
        return field.rpartition("].")[2] in _SHAPE_OF_SPARSE
    return False


def _default(field: str) -> Any:
    if field.endswith(".datatype") and field.startswith("params."):
        return _DEFAULT_TYPE
    return _DEFAULTS.get(field)


def differences(backup: Mapping[str, Any] | None, target: Mapping[str, Any] | None) -> tuple[Difference, ...]:
    """Every field in which two raw configs differ, the blocking ones first."""
    mine, theirs = _fields(backup), _fields(target)
    found: list[Difference] = []
    for field in sorted(mine.keys() | theirs.keys()):
        ours, other = mine.get(field, _default(field)), theirs.get(field, _default(field))
        if ours != other:
            found.append(Difference(field=field, backup=ours, target=other, blocking=_blocks(field)))
    return tuple(sorted(found, key=lambda each: not each.blocking))


# Payload indexes ------------------------------------------------------------------------------------------------------


def index_definition(entry: Any) -> Any:
    """What creates this index: its parameters where there are any, else its type.

    `entry` is either form: the server's `{"data_type": .., "params": .., "points": ..}`, or an archive's own.
    """
    if isinstance(entry, Mapping):
        described = cast("Mapping[str, Any]", entry)
        if "data_type" in described:
            return described.get("params") or described["data_type"]
        return described
    return entry


def _normal_index(entry: Any) -> dict[str, Any]:
    definition = index_definition(entry)
    if isinstance(definition, Mapping):
        return cast("dict[str, Any]", _without_nulls(definition))
    return {"type": definition}


def normal_schema(schema: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """A payload schema in which equal means equal: types and parameters, without the counts of points."""
    return {field: _normal_index(entry) for field, entry in (schema or {}).items()}


class IndexChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What separates a target's payload indexes from the wanted ones.

    Attributes:
        missing: fields to index, with what creates the index.
        different: fields indexed with other parameters, with what creates the wanted index.
        foreign: fields indexed on the target only.
    """

    missing: dict[str, Any] = {}
    different: dict[str, Any] = {}
    foreign: tuple[str, ...] = ()

    @property
    def wanted_are_there(self) -> bool:
        """Whether every wanted index exists as wanted."""
        return not self.missing and not self.different


def index_changes(wanted: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> IndexChanges:
    """Compare two payload schemas, in whichever form each comes."""
    want, have = normal_schema(wanted), normal_schema(found)
    originals = wanted or {}
    return IndexChanges(
        missing={field: index_definition(originals[field]) for field in want if field not in have},
        different={
            field: index_definition(originals[field]) for field in want if field in have and have[field] != want[field]
        },
        foreign=tuple(sorted(have.keys() - want.keys())),
    )


# Versions -------------------------------------------------------------------------------------------------------------


class VersionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the server may take the backup: `fits`, `unknown` (nobody recorded the version), or `unfit`."""

    verdict: str
    backup: str
    server: str
    text: str


def version_verdict(backup: str, server: str) -> VersionVerdict:
    """Qdrant's own rule: a snapshot restores on the same minor version or on the next one."""
    made, takes = _VERSION.match(backup), _VERSION.match(server)
    if made is None or takes is None:
        text = (
            "the backup does not say which Qdrant it was made of"
            if made is None
            else f"the server calls itself {server}"
        )
        return VersionVerdict(verdict="unknown", backup=backup, server=server, text=text)
    steps = int(takes[2]) - int(made[2])
    if made[1] == takes[1] and steps in {0, 1}:
        return VersionVerdict(verdict="fits", backup=backup, server=server, text=f"{backup} restores on {server}")
    newer = (int(made[1]), int(made[2])) > (int(takes[1]), int(takes[2]))
    relation = "from a newer Qdrant than the server's" if newer else "from a Qdrant two or more minor versions older"
    return VersionVerdict(
        verdict="unfit", backup=backup, server=server, text=f"it is {relation}: {backup} against {server}"
    )
