"""One shard: an engine's handle, opened when it is first needed, and its failures turned into answers."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import qdrant_edge as edge

from qdrant_backup.engine.rest.answers import ApiError, bad_input, bad_request, service_error
from qdrant_backup.engine.rest.schema import edge_config, index_parameters

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from qdrant_backup.engine.rest.registry import Record

__all__ = ["Shard", "engine_answers"]

_WRONG_INPUT = re.compile(
    "Vector dimension error|Not existing vector name|Wrong input|Conversion between|No appropriate index|No range index"
)


@contextlib.contextmanager
def engine_answers() -> Generator[None, None, None]:
    """Turn the engine's own failures into the server's: it raises bare `Exception`s, and panics below `BaseException`."""
    try:
        yield
    except ApiError:
        raise
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise service_error(f"the engine panicked: {error}") from None
        if not isinstance(error, Exception):
            raise
        text = str(error)
        if isinstance(error, (TypeError, ValueError, OverflowError, KeyError, AttributeError, IndexError)):
            reason = f"missing field `{error.args[0]}`" if isinstance(error, KeyError) else text
            raise ApiError(400, f"Format error in JSON body: {reason}") from error
        if _WRONG_INPUT.match(text):
            raise bad_input(text.removeprefix("Wrong input: ")) from None
        if text.startswith("Bad request: "):
            raise bad_request(text.removeprefix("Bad request: ")) from None
        raise service_error(text) from None


class Shard:
    """A shard of a collection, in a directory of its own that is made when it is first needed.

    Not thread-safe: the collection's lock is held around every call.
    """

    def __init__(self, directory: Path, record: Record) -> None:
        self.directory = directory
        self._record = record
        self._handle: Any = None

    def load(self) -> None:
        """Open the engine now, its own failures as they are; indexes that its segments lack are not made.

        What its write-ahead log had to add is written to the segments, so that the next opening need not do it again: 17 ms
        for each 500 points of 384 dimensions that were written shortly before the snapshot.

        Raises:
            Exception: whatever the engine says; `verdict.py` judges it.
        """
        self._handle = edge.EdgeShard.load(str(self.directory))
        self._handle.flush()

    @property
    def engine(self) -> Any:
        """The open engine.

        Raises:
            ApiError: 500, its files do not load; 400, the engine cannot keep such a collection.
        """
        if self._handle is None:
            with engine_answers():
                if self.directory.is_dir():
                    self._handle = edge.EdgeShard.load(str(self.directory))
                else:
                    self.directory.mkdir(parents=True)
                    self._handle = edge.EdgeShard.create(str(self.directory), edge_config(self._record.config))
                self._complete_schema()
        return self._handle

    def _complete_schema(self) -> None:
        """The engine keeps indexes inside segments only: in new, restored and crashed ones some are missing."""
        present = self._handle.info().payload_schema
        for field, entry in self._record.schema.items():
            kind = getattr(edge.PayloadSchemaType, entry["data_type"].capitalize())
            if field not in present or present[field].data_type != kind:
                self.index(field, entry)

    def index(self, field: str, entry: dict[str, Any]) -> None:
        """Index a payload field."""
        self.update(edge.UpdateOperation.create_field_index(field, index_parameters(entry)))

    def update(self, operation: Any) -> None:
        """Apply a change; it is in the write-ahead log when this returns."""
        with engine_answers():
            self.engine.update(operation)

    def close(self) -> None:
        """Flush and let go of the files."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with engine_answers():
                handle.close()
