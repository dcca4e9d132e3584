"""A file of the server as chunks: each byte once and in order, whatever happens to the connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from qdrant_backup.errors import CollectionFailed, ConnectionFailed, IntegrityFailed, NotQdrant
from qdrant_backup.qdrant.failures import could_not, of_transport
from qdrant_backup.qdrant.pull import Broken, gather, pull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

    from qdrant_backup.errors import QdrantBackupError
    from qdrant_backup.qdrant.calls import Call
    from qdrant_backup.qdrant.http import Http

__all__ = ["Download"]

_PARTIAL = 206
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

BREAKS = 8
"""How many breaks in a row are survived. One that comes after `_GAIN_BYTES` of progress begins the count anew."""

_GAIN_BYTES = 256 * 1024
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0


class _Version(NamedTuple):
    """What tells one version of a file from another. A weak ETag cannot be used with If-Range, so it counts as none."""

    etag: str
    modified: str
    total_bytes: int | None

    @property
    def validator(self) -> str:
        return self.etag or self.modified


class Download:
    """One file of the server, to be iterated once; use it as a context manager.

    The first request is made when it is created, so that a refusal is raised there. Breaks are resumed with Range and
    If-Range; a server that answers with the whole file again is read past what has been delivered already.

    Args:
        http: the layer to ask through.
        call: the GET.
        collection: whose snapshot it is, for messages.
        expected_bytes: the size the server lists; None where nobody knows it.
        resumable: False for a streamed snapshot, which is another one each time.

    Attributes:
        total_bytes: the size the server states or lists; None for a stream.
        delivered_bytes: so many bytes have been handed on.
        resumed: how often the transfer broke and went on.

    Raises:
        CollectionFailed: it broke and could not be resumed, or the file changed meanwhile.
        IntegrityFailed: the server sends another length than it lists.
    """

    def __init__(
        self, http: Http, call: Call, *, collection: str, expected_bytes: int | None, resumable: bool = True
    ) -> None:
        self._http = http
        self._call = call
        self._collection = collection
        self._resumable = resumable
        self._breaks_left = BREAKS
        self._delivered_at_break = 0
        self._skip_bytes = 0
        self.delivered_bytes = 0
        self.resumed = 0
        self._response = http.open(call)
        self._version = _version_of(self._response)
        stated = self._version.total_bytes
        if expected_bytes is not None and stated is not None and stated != expected_bytes:
            self.close()
            raise self._wrong_length(stated, expected_bytes)
        self.total_bytes = expected_bytes if stated is None else stated

    def __enter__(self) -> Download:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection: what has not been read yet will not be."""
        self._response.close()

    def __iter__(self) -> Iterator[bytes]:
        """The chunks, at most 1 MiB each. Ends without an error only when the whole length has come."""
        if not self._resumable:
            yield from self._streamed()
            return
        while True:
            try:
                for piece in self._pieces():
                    self.delivered_bytes += len(piece)
                    self._refuse_excess()
                    yield piece
            except Broken as broken:
                self._resume(of_transport(broken.cause, self._call, self._http.target).why)
                continue
            if self.total_bytes is None or self.delivered_bytes == self.total_bytes:
                return
            self._resume("the answer ended early")

    def _streamed(self) -> Iterator[bytes]:
        pieces = pull(self._response, self._http.clock, self._http.target.silence_s)
        try:
            for piece in gather(pieces):
                self.delivered_bytes += len(piece)
                yield piece
        except Broken as broken:
            error = of_transport(broken.cause, self._call, self._http.target)
            raise self._gave_up(f"{error.why} after {self.delivered_bytes} bytes; a stream cannot be resumed") from None

    def _pieces(self) -> Iterator[bytes]:
        for piece in pull(self._response, self._http.clock, self._http.target.silence_s):
            if self._skip_bytes >= len(piece):
                self._skip_bytes -= len(piece)
                continue
            fresh = piece[self._skip_bytes :] if self._skip_bytes else piece
            self._skip_bytes = 0
            yield fresh

    def _refuse_excess(self) -> None:
        if self.total_bytes is not None and self.delivered_bytes > self.total_bytes:
            self.close()
            raise self._wrong_length(self.delivered_bytes, self.total_bytes)

    def _resume(self, why: str) -> None:
        """Open the rest of the file in place of the broken answer, or raise."""
        while True:
            self.close()
            self._spend_a_break(why)
            try:
                self._reopen()
            except NotQdrant as error:
                why = error.why
            except ConnectionFailed as error:
                why = error.why
            else:
                self.resumed += 1
                return

    def _spend_a_break(self, why: str) -> None:
        if self.delivered_bytes - self._delivered_at_break >= _GAIN_BYTES:
            self._breaks_left = BREAKS
        self._delivered_at_break = self.delivered_bytes
        if self.delivered_bytes and not self._version.validator:
            raise self._gave_up(f"{self._short()}: {why}, and the server cannot resume it")
        if self._breaks_left == 0:
            raise self._gave_up(f"{self._short()}: {why}, {BREAKS + 1} times in a row")
        pause_s = min(_FIRST_PAUSE_S * 2 ** (BREAKS - self._breaks_left), _LONGEST_PAUSE_S)
        self._breaks_left -= 1
        self._http.clock.sleep(pause_s)

    def _reopen(self) -> None:
        at = self.delivered_bytes
        headers = {"range": f"bytes={at}-", "if-range": self._version.validator} if at else {}
        response = self._http.reopen(self._call, headers)
        version = _version_of(response)
        same = version.validator == self._version.validator and version.total_bytes == self._version.total_bytes
        if not same or (response.status == _PARTIAL and _start_of(response) != at):
            response.close()
            raise self._gave_up(f"{self._short()}, and the file on the server is another one now")
        self._skip_bytes = 0 if response.status == _PARTIAL else at
        self._response = response

    def _short(self) -> str:
        total = "an unknown number of" if self.total_bytes is None else str(self.total_bytes)
        return f"short: got {self.delivered_bytes} of {total} bytes"

    def _gave_up(self, why: str) -> QdrantBackupError:
        what = could_not(self._call, self._http.target)
        return CollectionFailed(what, why=why, advice="Run it again.", collection=self._collection)

    def _wrong_length(self, sent: int, listed: int) -> QdrantBackupError:
        what = could_not(self._call, self._http.target)
        why = f"the server sends {sent} bytes of a file it lists with {listed}"
        return IntegrityFailed(what, why=why, advice="Run it again.", collection=self._collection)


def _version_of(response: BaseHTTPResponse) -> _Version:
    headers = response.headers
    etag = headers.get("etag", "")
    strong = "" if etag.startswith("W/") else etag
    return _Version(strong, headers.get("last-modified", ""), _total_of(response))


def _total_of(response: BaseHTTPResponse) -> int | None:
    if response.status == _PARTIAL:
        match = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
        return int(match[3]) if match and match[3] != "*" else None
    length = response.headers.get("content-length", "").strip()
    return int(length) if length.isdecimal() and "transfer-encoding" not in response.headers else None


def _start_of(response: BaseHTTPResponse) -> int | None:
    match = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
    return int(match[1]) if match else None
