"""Answers in the server's shapes: the envelope around every result, and the errors with their texts and statuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

__all__ = [
    "Answer",
    "ApiError",
    "already_exists",
    "bad_input",
    "bad_request",
    "body_of",
    "collection_missing",
    "decode",
    "error_body",
    "forbidden",
    "not_found",
    "service_error",
    "unprocessable",
]

_encoder = msgspec.json.Encoder()


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an endpoint answers when it is more than a result in the usual envelope.

    Attributes:
        status: the HTTP status.
        body: the whole body, already encoded.
        media_type: its content type.
    """

    status: int
    body: bytes
    media_type: str = "application/json"


class ApiError(Exception):
    """An answer other than 200: its status, and the sentence that stands in `status.error`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad_input(description: str) -> ApiError:
    """400: the request makes no sense to this collection."""
    return ApiError(400, f"Wrong input: {description}")


def bad_request(description: str) -> ApiError:
    """400: the request makes no sense at all."""
    return ApiError(400, f"Bad request: {description}")


def not_found(description: str) -> ApiError:
    """404 for a thing that the path names."""
    return ApiError(404, f"Not found: {description}")


def collection_missing(name: str) -> ApiError:
    """404 for a collection."""
    return not_found(f"Collection `{name}` doesn't exist!")


def already_exists(name: str) -> ApiError:
    """409 for a collection that is created twice."""
    return ApiError(409, f"Wrong input: Collection `{name}` already exists!")


def forbidden(description: str) -> ApiError:
    """403: the key has not the right."""
    return ApiError(403, f"Forbidden: {description}")


def service_error(description: str) -> ApiError:
    """500."""
    return ApiError(500, f"Service internal error: {description}")


def unprocessable(where: str, what: str) -> ApiError:
    """422: a value is out of its range; `where` is `JSON body` or `path parameters`."""
    return ApiError(422, f"Validation error in {where}: [{what}]")


def body_of(result: Any, seconds: float) -> bytes:
    """A result in its envelope, with the time it took."""
    return _encoder.encode({"result": result, "status": "ok", "time": seconds})


def accepted_body(seconds: float) -> bytes:
    """The answer to `wait=false`."""
    return _encoder.encode({"status": "accepted", "time": seconds})


def error_body(message: str, seconds: float = 0.0) -> bytes:
    """An error in its envelope."""
    return _encoder.encode({"status": {"error": message}, "time": seconds})


def decode(raw: bytes) -> Any:
    """The JSON of a request's body.

    Raises:
        ApiError: 400, it is none.
    """
    if not raw:
        message = "Format error in JSON body: EOF while parsing a value at line 1 column 0"
        raise ApiError(400, message)
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"Format error in JSON body: {error}"
        raise ApiError(400, message) from None
