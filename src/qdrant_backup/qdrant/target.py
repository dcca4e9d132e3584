"""Where the server is and how it is spoken to: address, key, trust, patience."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from qdrant_backup.errors import RefusedForSafety, UsageError

if TYPE_CHECKING:
    from qdrant_backup.secret import Secret

__all__ = ["Target"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535


@dataclasses.dataclass(frozen=True)
class Target:
    """One server's address and the manner of speaking to it.

    Attributes:
        scheme: `http` or `https`.
        host: a name or an address; IPv6 without its brackets.
        port: the REST port.
        prefix: the path behind which a proxy keeps Qdrant, such as `/qdrant`; empty without one.
        api_key: sent as the `api-key` header; None sends none.
        key_advice: where that key is set, for whoever gave none or a wrong one; None for the usual server's.
        ca_file: a PEM file of the authorities to trust instead of the system's.
        connect_timeout_s: for reaching the server at all.
        silence_s: how long a transfer or an answer may stand still. Never a limit on the whole.
        allow_plain_http: send the key over plain http to another machine all the same.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    api_key: Secret | None = None
    key_advice: str | None = None
    ca_file: str | None = None
    connect_timeout_s: float = 10.0
    silence_s: float = 300.0
    allow_plain_http: bool = False

    @classmethod
    def parse(cls, url: str, *, api_key: Secret | None = None, ca_file: str | None = None) -> Target:
        """The target of a URL such as `https://host:6333/prefix`. Without a port: 80, or 443 for https.

        Use `dataclasses.replace` for the rest. Raises UsageError, which never repeats a password in the URL.
        """
        parts = _split(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise _unusable("it is not http://HOST:PORT or https://HOST:PORT")
        if parts.username is not None or parts.password is not None:
            raise _unusable("it carries a user name or password; a key belongs into QDRANT_API_KEY")
        if parts.query or parts.fragment:
            raise _unusable("it has a query or a fragment, which an address has no use for")
        port = _port(parts)
        return cls(
            parts.scheme,
            parts.hostname,
            _DEFAULT_PORTS[parts.scheme] if port is None else port,
            prefix=parts.path.rstrip("/"),
            api_key=api_key,
            ca_file=ca_file,
        )

    @property
    def url(self) -> str:
        """The base URL for messages. No secret is in it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    def check(self) -> None:
        """Raises RefusedForSafety when the key would cross a network unencrypted, UsageError when it cannot be sent."""
        if not self.api_key:
            return
        key = self.api_key.reveal()
        if not key.isascii() or not key.isprintable() or key != key.strip():
            raise UsageError(
                "the API key cannot be sent",
                why="it holds a line break, a space at an end, or characters outside ASCII",
                advice="Check QDRANT_API_KEY, or the file QDRANT_API_KEY_FILE names.",
            )
        if self.scheme == "http" and not self.allow_plain_http and not is_loopback(self.host):
            raise RefusedForSafety(
                f"the API key was not sent to {self.url}",
                why="plain http to another machine shows the key to everybody in between",
                advice="Use QDRANT_URL=https://..., or allow it with --allow-plain-http where the network is trusted.",
            )


def is_loopback(host: str) -> bool:
    """Whether the host is this machine: `localhost`, 127.0.0.0/8 or ::1. A name is not looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise _unusable("it is not a URL") from None


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        raise _unusable(f"its port is not a number from 1 to {_MAX_PORT}") from None
    if port == 0:
        raise _unusable(f"its port is not a number from 1 to {_MAX_PORT}")
    return port


def _unusable(why: str) -> UsageError:
    return UsageError(
        "the server's URL cannot be used", why=why, advice="Set QDRANT_URL, or QDRANT_HOST and QDRANT_PORT."
    )
