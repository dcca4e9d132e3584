"""Settings: what each one means, and which of several places decided it.

A setting comes from the first of: a flag, the environment, `qdrant-backup.toml`, the installation's own `.env`
(`$AI_MEMORY_INSTALL_DIR/.env`, then `docker/.env`), the default. This module only decides between texts it is handed;
reading the environment and the files is `cli/`'s work. `docs/settings.md` lists the variables and is checked against
`VARIABLES`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qdrant_backup.errors import UsageError
from qdrant_backup.secret import MASK, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["VARIABLES", "Layer", "Settings", "Value", "Variable", "resolve"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})
_LAST_PORT = 65535
_USER = re.compile(r"//[^/]*@")
_QUERY = re.compile(r"(//[^?#]*[?#]).*")


def _text(text: str) -> str:
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _LAST_PORT:
        msg = "a port is a number from 1 to 65535"
        raise ValueError(msg)
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        msg = "it is a number of seconds above 0"
        raise ValueError(msg)
    return seconds


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        msg = "it is a whole number of days, 0 or more"
        raise ValueError(msg)
    return int(text)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?B?)?", text, re.IGNORECASE)
    if found is None:
        msg = "it is a number of bytes, such as 500 MB or 20 GiB (in steps of 1024)"
        raise ValueError(msg)
    return int(float(found[1]) * 1024 ** (" KMGT".index(found[2][0].upper()) if found[2] else 0))


def _yes_no(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        msg = "it is 1 or 0, yes or no"
        raise ValueError(msg)
    return text.lower() in _TRUE


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        msg = "it is http://HOST[:PORT][/PREFIX] or https://..., without a user, a query or a fragment"
        raise ValueError(msg)
    try:
        _ = parts.port
    except ValueError:
        msg = "its port is a number from 1 to 65535"
        raise ValueError(msg) from None
    return text.rstrip("/")


@dataclasses.dataclass(frozen=True)
class Variable:
    """One setting.

    Attributes:
        name: the environment variable.
        key: the key in `qdrant-backup.toml`, and in `config show`.
        default: as text; None where there is none.
        meaning: one sentence for `docs/settings.md` and `config show`.
        parse: text to value; raises ValueError with what the text must be.
        secret: its text is never shown, and `<name>_FILE` may name a file that holds it.
    """

    name: str
    key: str
    default: str | None
    meaning: str
    parse: Callable[[str], Any] = _text
    secret: bool = False


VARIABLES: tuple[Variable, ...] = (
    Variable("QDRANT_HOST", "host", "localhost", "Qdrant server hostname."),
    Variable("QDRANT_PORT", "port", "26350", "Qdrant's REST port, as reached from here.", _port),
    Variable("QDRANT_URL", "url", None, "Instead of host and port: for TLS (https://) or a path prefix.", _url),
    Variable("QDRANT_API_KEY", "api_key", None, "API key for Qdrant authentication.", secret=True),
    Variable("AI_MEMORY_BACKUP_DIR", "backup_dir", None, "Default backup directory."),
    Variable(
        "AI_MEMORY_INSTALL_DIR", "install_dir", "~/.ai-memory", "The AI Memory installation (config, version, logs)."
    ),
    Variable(
        "SNAPSHOT_UPLOAD_TIMEOUT",
        "silence_timeout",
        "300",
        "Seconds of silence after which a transfer, or a server that answers nothing, counts as dead. Not a limit on the whole.",
        _seconds,
    ),
    Variable(
        "QDRANT_BACKUP_SERVER_WAIT",
        "server_wait",
        "900",
        "Seconds to wait for what the server goes on doing after a lost answer (a late recovery, a running creation, optimising).",
        _seconds,
    ),
    Variable("QDRANT_BACKUP_CA_FILE", "ca_file", None, "PEM file with the authorities to trust, for https."),
    Variable(
        "QDRANT_BACKUP_ALLOW_HTTP",
        "allow_http",
        "0",
        "Allow the API key over plain http to a host that is not this one.",
        _yes_no,
    ),
    Variable(
        "QDRANT_INTO_API_KEY",
        "into_api_key",
        None,
        "API key of the server named by --into-url, or by `drill --server`.",
        secret=True,
    ),
    Variable(
        "QDRANT_BACKUP_SAFETY_DAYS",
        "safety_days",
        "7",
        "Days that the safety backup of a finished restore is kept for `undo`.",
        _days,
    ),
    Variable(
        "QDRANT_BACKUP_SERVE_API_KEY",
        "serve_api_key",
        None,
        "The key that readers of `serve` need; without one a new key is made and shown.",
        secret=True,
    ),
    Variable(
        "QDRANT_BACKUP_CACHE_DIR",
        "cache_dir",
        None,
        "Where backups are unpacked to look inside them (default: qdrant-backup in $XDG_CACHE_HOME or ~/.cache).",
    ),
    Variable(
        "QDRANT_BACKUP_CACHE_BYTES",
        "cache_bytes",
        "20 GiB",
        "What that directory may take; what was used longest ago is removed first.",
        _bytes,
    ),
)

_BY_NAME = {variable.name: variable for variable in VARIABLES}
_BY_KEY = {variable.key: variable for variable in VARIABLES}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One place that settings come from: its name for people, and texts by environment variable name."""

    source: str
    texts: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Value:
    """A setting's value and the place that decided it; `default` where none did."""

    variable: Variable
    value: Any
    source: str

    @property
    def shown(self) -> str:
        """The value as text for people; secrets are masked."""
        if self.value is None:
            return "(none)"
        return MASK if self.variable.secret else str(self.value)


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings, each with its source, by key."""

    values: Mapping[str, Value]

    def get(self, key: str) -> Any:
        """The value of a setting by its key."""
        return self.values[key].value

    def source(self, key: str) -> str:
        """Where a setting's value came from."""
        return self.values[key].source

    @property
    def url(self) -> str:
        """Where Qdrant's REST API is."""
        return self.get("url") or f"http://{_bracketed(self.get('host'))}:{self.get('port')}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for the manifest and for people."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def api_key(self) -> Secret:
        """The server's key; an empty secret when there is none."""
        return self.get("api_key") or Secret("")

    @property
    def into_api_key(self) -> Secret:
        """The key of the server named by `--into-url`."""
        return self.get("into_api_key") or Secret("")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def from_toml(table: Mapping[str, Any], source: str) -> Layer:
    """A layer from the parsed `qdrant-backup.toml`.

    Raises:
        UsageError: a key is unknown (usually a typo), or has a value that is no text, number or yes/no.
    """
    texts: dict[str, str] = {}
    for key, value in table.items():
        stem = key.removesuffix("_file")
        variable = _BY_KEY.get(key) or _BY_KEY.get(stem)
        if variable is not None and key != variable.key and not variable.secret:
            variable = None
        if variable is None:
            raise UsageError(f"{source} has the key {key!r}", why=f"the keys are {', '.join(_BY_KEY)}")
        if variable.secret and key == variable.key:
            raise UsageError(
                f"{source} holds the secret {key!r} itself",
                why="a settings file is copied and committed too easily",
                advice=f"Put it into a file of its own and name that with {key}_file, or set {variable.name}.",
            )
        if not isinstance(value, str | int | float | bool):
            raise UsageError(f"{source} gives {key!r} a value that is no text or number")
        name = variable.name if key == variable.key else f"{variable.name}_FILE"
        texts[name] = str(int(value)) if isinstance(value, bool) else str(value)
    return Layer(source, texts)


def resolve(layers: Sequence[Layer], read_secret: Callable[[str], str]) -> Settings:
    """Decide every setting; the first layer that has a text for it wins.

    Args:
        layers: the highest first. An empty text counts as absent, as an unset variable in a compose file is empty.
        read_secret: gives the content of a file named by a `*_FILE` variable; raises what it likes.

    Raises:
        UsageError: a text is not what its setting must be; the message names the place it came from.
    """
    return Settings({variable.key: _decide(variable, layers, read_secret) for variable in VARIABLES})


def _decide(variable: Variable, layers: Sequence[Layer], read_secret: Callable[[str], str]) -> Value:
    for layer in layers:
        text = layer.texts.get(variable.name, "")
        path = layer.texts.get(f"{variable.name}_FILE", "") if variable.secret else ""
        if text and path:
            raise UsageError(
                f"{variable.name} and {variable.name}_FILE are both set ({layer.source})",
                why="only one of them can be meant",
            )
        if path:
            return Value(
                variable, _secret(variable, read_secret(path), layer.source), f"{layer.source}, {variable.name}_FILE"
            )
        if text:
            return Value(variable, _parsed(variable, text, layer.source), layer.source)
    default = None if variable.default is None else variable.parse(variable.default)
    return Value(variable, default, "default")


def _parsed(variable: Variable, text: str, source: str) -> Any:
    if variable.secret:
        return _secret(variable, text, source)
    try:
        return variable.parse(text)
    except ValueError as error:
        raise UsageError(
            f"{variable.name} is {_shown(text)!r} ({source})",
            why=str(error),
            advice=f"Correct {variable.name}; `qdrant-backup config show` lists every setting and where it comes from.",
        ) from None


def _shown(text: str) -> str:
    """A setting's text without what may be a secret in an address: a user, a query, a fragment."""
    return _QUERY.sub(rf"\1{MASK}", _USER.sub(f"//{MASK}@", text))


def _secret(variable: Variable, text: str, source: str) -> Secret:
    key = text.strip()
    if not key.isprintable() or not key.isascii() or not key:
        raise UsageError(
            f"{variable.name} is no usable key ({source})",
            why="a key is one line of printable ASCII characters",
        )
    return Secret(key)
