"""An upload as multipart/form-data, built by hand: known length, constant memory, and it is known how much was sent."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from qdrant_backup.errors import ConnectionFailed, IntegrityFailed, NotWritable
from qdrant_backup.qdrant.answers import refusal
from qdrant_backup.qdrant.failures import Unanswered, could_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qdrant_backup.qdrant.calls import Call
    from qdrant_backup.qdrant.http import Http

__all__ = ["Multipart", "upload"]

_PIECE_BYTES = 256 * 1024
_OK = range(200, 300)


class Multipart:
    """A form with one file in the field `snapshot`, as an iterable body.

    The closing boundary goes out last and only when exactly `size_bytes` came before it. So a server cannot take the
    form for complete unless it is, and `sent` says whether it can.

    Args:
        file_name: the file's name as the server is to keep it.
        chunks: gives the file's bytes from the start.
        size_bytes: how many there are.
        boundary: must not occur in the file; random when left out.
    """

    def __init__(
        self, file_name: str, chunks: Callable[[], Iterable[bytes]], size_bytes: int, *, boundary: str = ""
    ) -> None:
        self._boundary = boundary or secrets.token_hex(24)
        self._chunks = chunks
        self._size_bytes = size_bytes
        quoted = file_name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        self._head = (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="snapshot"; filename="{quoted}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self.sent_bytes = 0
        self.sent = False

    @property
    def headers(self) -> dict[str, str]:
        """Content-Type and Content-Length of the whole form."""
        length = len(self._head) + self._size_bytes + len(self._tail)
        return {
            "content-type": f"multipart/form-data; boundary={self._boundary}",
            "content-length": str(length),
        }

    def __iter__(self) -> Iterator[bytes]:
        """The form, in pieces small enough for a slow link to take one within the deadline.

        Raises IntegrityFailed when the file has another size, NotWritable when it cannot be read.
        """
        yield self._head
        for piece in self._file():
            yield piece
            self.sent_bytes += len(piece)
        if self.sent_bytes != self._size_bytes:
            raise self._other_size(self.sent_bytes)
        self.sent = True
        yield self._tail

    def _file(self) -> Iterator[bytes]:
        # An OSError that left this generator would be taken by urllib3 for one of the connection.
        total = 0
        try:
            for chunk in self._chunks():
                total += len(chunk)
                if total > self._size_bytes:
                    raise self._other_size(total)
                view = memoryview(chunk)
                for start in range(0, len(chunk), _PIECE_BYTES):
                    yield bytes(view[start : start + _PIECE_BYTES])
        except OSError as error:
            raise NotWritable("could not read the file to upload", why=error.strerror or str(error)) from None

    def _other_size(self, found: int) -> IntegrityFailed:
        return IntegrityFailed(
            "the file to upload changed while it was read", why=f"{found} bytes instead of {self._size_bytes}"
        )


def upload(http: Http, call: Call, form: Multipart) -> None:
    """Send the form and wait for the verdict. An answer that comes before everything was sent is read all the same.

    Raises:
        Unanswered: the whole form went out and no answer came; the server may still be at work.
        ConnectionFailed: it broke before; the server cannot have taken anything for complete.
        AccessDenied, ServerRefused: the server's own answer.
    """
    what = could_not(call, http.target)
    try:
        answer = http.send_body(call, form.headers, form)
    except Unanswered as error:
        if form.sent:
            raise
        why = f"{error.why}, after {form.sent_bytes} bytes of the file"
        raise ConnectionFailed(what, why=why, advice="Nothing was changed. Run it again.") from None
    if answer.status not in _OK:
        error = refusal(answer, call, http.target)
        if isinstance(error, Unanswered) and not form.sent:
            raise ConnectionFailed(what, why=error.why, advice="Nothing was changed. Run it again.")
        raise error
    if not form.sent:
        why = f"it was called a success after {form.sent_bytes} bytes of the file"
        raise ConnectionFailed(what, why=why, advice="Look at what stands between here and Qdrant.")
