"""Receiving an uploaded snapshot: multipart form data, straight to a file, in constant memory."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from qdrant_backup.engine.rest.answers import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

__all__ = ["receive"]

FIELD = b"snapshot"


class _Form:
    """Collects the field `snapshot` into a file while the parser reports what it reads."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.found = False
        self.file_name = ""
        self.ended = False
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._ours = False

    def on_part_begin(self) -> None:
        self._ours = False
        self._disposition = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") == FIELD:
            self._ours = self.found = True
            self.file_name = options.get(b"filename", b"").decode("utf-8", "replace")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._ours:
            self.file.write(memoryview(data)[start:end])

    def on_end(self) -> None:
        self.ended = True

    def require_whole(self) -> None:
        """Refuse a form without our field, or one that was cut.

        Raises:
            ApiError: 400.
        """
        if not self.found:
            message = "Field 'snapshot' is required"
            raise ApiError(400, message)
        if not self.ended:
            message = "Multipart stream is incomplete"
            raise ApiError(400, message)


async def receive(request: Request, directory: Path) -> tuple[Path, str]:
    """Write the upload to a new file in `directory`; its path, and the plain name the client gave it.

    Raises:
        ApiError: 400, it is no form with a `snapshot`, or it was cut.
        ClientDisconnect: the client went away; the file is gone too.
    """
    path = directory / secrets.token_hex(8)
    try:
        with path.open("wb") as file:
            form = _Form(file)
            parser = _parser(request.headers.get("content-type"), form)
            async for chunk in request.stream():
                parser.write(chunk)
        form.require_whole()
    except MultipartParseError as error:
        path.unlink(missing_ok=True)
        raise ApiError(400, str(error)) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, form.file_name.replace("\\", "/").rsplit("/", 1)[-1]


def _parser(content_type: str | None, form: _Form) -> MultipartParser:
    if content_type is None:
        message = "Could not find Content-Type header"
        raise ApiError(400, message)
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        message = "Could not parse Content-Type header"
        raise ApiError(400, message)
    return MultipartParser(
        options[b"boundary"],
        {
            "on_part_begin": form.on_part_begin,
            "on_header_field": form.on_header_field,
            "on_header_value": form.on_header_value,
            "on_header_end": form.on_header_end,
            "on_headers_finished": form.on_headers_finished,
            "on_part_data": form.on_part_data,
            "on_end": form.on_end,
        },
    )
