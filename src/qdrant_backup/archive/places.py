"""Where a member of a snapshot belongs, told from its name, and that no two members claim one place.

Both forms of a segment (`{uuid}.tar`, and the directory `{uuid}/files/`) are flattened to one.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

__all__ = [
    "COLLECTION_DOCUMENTS",
    "SEGMENT_DOCUMENTS",
    "SHARD_DOCUMENTS",
    "SHARD_OPTIONAL",
    "Names",
    "Place",
    "is_document",
    "place_of",
]

COLLECTION_DOCUMENTS = ("version.info", "config.json", "shard_key_mapping.json", "payload_index.json")
SHARD_DOCUMENTS = ("replica_state.json", "shard_config.json")
SHARD_OPTIONAL = ("newest_clocks.json", "oldest_clocks.json", "applied_seq.json", "segments_manifest.json")
SEGMENT_DOCUMENTS = ("segment.json", "version.info", "segment_manifest.json")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")


class Place(NamedTuple):
    """Where a member belongs.

    Attributes:
        shard: the number in front of the name; None in a shard's archive and for the root's documents.
        area: `root`, `shard`, `wal` or `segments`.
        segment: the segment's name inside `segments`; empty elsewhere.
        path: the path inside the shard, the segment (without `files/`), or the root.
        nested: the member is the segment's own archive.
    """

    shard: int | None
    area: Literal["root", "shard", "wal", "segments"]
    segment: str = ""
    path: str = ""
    nested: bool = False

    @property
    def prefix(self) -> str:
        """The directory that the member's segment, or shard, is flattened to; with a trailing slash unless empty."""
        shard = "" if self.shard is None else f"{self.shard}/"
        return f"{shard}segments/{self.segment}/" if self.segment else shard


def place_of(name: str, *, is_directory: bool) -> Place:
    """Where a checked member name belongs.

    Raises:
        ValueError: it stands below `segments/` in a form that the server does not read.
    """
    first, _, rest = name.partition("/")
    shard = None
    if _NUMBER.fullmatch(first) and (rest or is_directory):
        shard, name = int(first), rest
        first, _, rest = name.partition("/")
    if first == "wal":
        return Place(shard, "wal", path=rest)
    if first == "segments":
        return _segment_place(shard, rest, is_directory=is_directory)
    of_shard = shard is not None or name in SHARD_DOCUMENTS or name in SHARD_OPTIONAL
    return Place(shard, "shard" if of_shard else "root", path=name)


def is_document(place: Place) -> bool:
    """The member is one of those whose content is read while the archive passes."""
    if place.area == "segments":
        return place.path in SEGMENT_DOCUMENTS
    if place.area == "wal":
        return False
    return place.path in (COLLECTION_DOCUMENTS if place.area == "root" else SHARD_DOCUMENTS)


def _segment_place(shard: int | None, rest: str, *, is_directory: bool) -> Place:
    segment, _, path = rest.partition("/")
    if not segment and is_directory:
        return Place(shard, "segments")
    nested = not path and not is_directory
    stem = segment.removesuffix(".tar") if nested else segment
    if not stem or "." in stem or (nested and stem == segment):
        raise ValueError(f"'segments/{rest}' is neither a segment's directory nor its archive")
    inside = "" if path == "files" and is_directory else path.removeprefix("files/")
    return Place(shard, "segments", stem, inside, nested)


class Names:
    """The names taken so far. Two members of one name, or a file with members below it, cannot both be unpacked."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._directories: set[str] = set()

    def add_file(self, name: str) -> None:
        """Take a name for a file.

        Raises:
            ValueError: it is taken, or a file stands where one of its directories would.
        """
        if name in self._files or name in self._directories:
            raise ValueError(f"the name {name!r} is taken twice")
        self._add_parents(name)
        self._files.add(name)

    def add_directory(self, name: str) -> bool:
        """Take a name for a directory; whether it is new. A directory may be named again, that changes nothing.

        Raises:
            ValueError: a file has that name, or stands where one of its directories would.
        """
        if name in self._files:
            raise ValueError(f"the name {name!r} is taken twice")
        if name in self._directories:
            return False
        self._add_parents(name)
        self._directories.add(name)
        return True

    def _add_parents(self, name: str) -> None:
        at = name.rfind("/")
        while at > 0:
            parent = name[:at]
            if parent in self._directories:
                return
            if parent in self._files:
                raise ValueError(f"the member {name!r} stands below the file {parent!r}")
            self._directories.add(parent)
            at = name.rfind("/", 0, at)
