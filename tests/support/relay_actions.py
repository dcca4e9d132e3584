"""What the relay can do to a request or to its answer; `relay.py` says how positions count."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

__all__ = [
    "ENDING",
    "Action",
    "Answer",
    "Close",
    "Delay",
    "DropReply",
    "FlipByte",
    "Flood",
    "Header",
    "Mute",
    "Positioned",
    "Rate",
    "Refuse",
    "Reset",
    "Stall",
]


@dataclasses.dataclass(frozen=True)
class Reset:
    """Forward `after` bytes of the body, then reset the client's connection."""

    after: float = 0
    up: bool = False


@dataclasses.dataclass(frozen=True)
class Close:
    """Forward `after` bytes of the body, then close cleanly, as if that were all; `unsized` promises no length before."""

    after: float = 0
    up: bool = False
    unsized: bool = False


@dataclasses.dataclass(frozen=True)
class Stall:
    """Forward `after` bytes of the body, then neither send nor take anything until the relay is closed."""

    after: float = 0
    up: bool = False


@dataclasses.dataclass(frozen=True)
class Mute:
    """Take the whole request and never say a word; with `deliver` the server behind has done what was asked."""

    deliver: bool = False


@dataclasses.dataclass(frozen=True)
class Delay:
    """Wait before the server behind is asked; then nothing is wrong."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Rate:
    """Forward the body at so many bytes a second."""

    bytes_per_s: float
    up: bool = False


@dataclasses.dataclass(frozen=True)
class Flood:
    """Answer 200 in the server's place, with a JSON text of `size_bytes` that is made while it is sent."""

    size_bytes: int
    begin: bytes = b'{"result":"'
    fill: bytes = b"x"
    end: bytes = b'"}'


@dataclasses.dataclass(frozen=True)
class Refuse:
    """Reset without asking the server behind."""


@dataclasses.dataclass(frozen=True)
class FlipByte:
    """Change the byte at this position of the body."""

    at: float = 0
    up: bool = False


@dataclasses.dataclass(frozen=True)
class DropReply:
    """Let the server behind do it, take its whole answer, and hang up without passing it on."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """Answer in the server's place; with `deliver` after it has done what was asked.

    `unread` answers before the body; with `abrupt` the connection is reset behind that answer.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    deliver: bool = False
    unread: bool = False
    abrupt: bool = False


@dataclasses.dataclass(frozen=True)
class Header:
    """Say something else in a header of the answer; None leaves it out."""

    name: str
    value: str | None


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """Replace every match of this regular expression in the answer's body. Without a match nothing is answered at all."""

    pattern: bytes
    replacement: bytes


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """Let the server at this port answer, as a load balancer would."""

    port: int


Action: TypeAlias = (
    Reset
    | Close
    | Stall
    | Mute
    | Delay
    | Rate
    | Flood
    | Refuse
    | FlipByte
    | DropReply
    | Answer
    | Header
    | Rewrite
    | Elsewhere
)
Positioned: TypeAlias = "Reset | Close | Stall | FlipByte"
ENDING = (Reset, Close, Stall)
