"""The difference between two config files, shown without showing a secret.

Every secret value becomes `***` and a number, the same number for the same value, so that a changed key shows as changed
and neither the old nor the new one can be read.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.installation.env_file import statements
from qdrant_backup.secret import MASK

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["masked_difference"]

_SECRET_NAME = re.compile(
    r"(?i)(?:key|secret|token|passw|pwd|pass$|credential|auth|private|dsn|cookie|session|signature|webhook)"
)
_URL_LOGIN = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,20}://)[^\s/@\"']{1,500}@")
_COMMENTED = re.compile(r"(\s*#+\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_.-]*\s*=)(.+)")
_SHORTEST_REPLACED = 6
_LONGEST_LINE = 2000


class _Labels:
    """Numbers for secret values; one object serves both sides of a difference."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mask(self, secret: str) -> str:
        return f"{MASK}{self._numbers.setdefault(secret, len(self._numbers) + 1)}"

    def redact(self, line: str) -> str:
        """`line` with every known secret masked, wherever it stands, and logins in URLs."""
        for secret in sorted(self._numbers, key=len, reverse=True):
            if len(secret) >= _SHORTEST_REPLACED:
                line = line.replace(secret, self.mask(secret))
        line = _URL_LOGIN.sub(rf"\1{MASK}@", line)
        return line if len(line) <= _LONGEST_LINE else f"{line[:80]}... ({len(line)} characters)"


def masked_difference(name: str, old: bytes, new: bytes) -> str:
    """A unified difference from `old` (what is installed) to `new` (what the backup holds), without secrets.

    JSON is compared key by key, so its layout does not matter; text that is neither JSON nor `KEY=VALUE` is compared by
    its lines. Bytes that are no text are only said to differ.
    """
    try:
        old_text, new_text = old.decode("utf-8-sig"), new.decode("utf-8-sig")
    except UnicodeDecodeError:
        return f"{name}: {len(old)} bytes are installed, {len(new)} bytes in the backup; at least one is not text"
    labels = _Labels()
    lines = [_lines(name, text, labels) for text in (old_text, new_text)]
    before, after = ([labels.redact(line) for line in side] for side in lines)
    difference = list(difflib.unified_diff(before, after, f"{name} (installed)", f"{name} (backup)", n=2, lineterm=""))
    return "\n".join(difference) if difference else f"{name}: only white space, layout or the order of keys differ"


def _lines(name: str, text: str, labels: _Labels) -> Sequence[str]:
    if name.endswith(".json"):
        try:
            value: Any = _masked(msgspec.json.decode(text.encode()), labels, hidden=False)
            return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2).decode().split("\n")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return [_masked_line(line, labels) for line in text.split("\n")]
    return [line for statement in statements(text) for line in _env_lines(*statement, labels)]


def _masked(value: Any, labels: _Labels, *, hidden: bool) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        return {
            key: _masked(inner, labels, hidden=hidden or _SECRET_NAME.search(key) is not None)
            for key, inner in items.items()
        }
    if isinstance(value, list):
        return [_masked(inner, labels, hidden=hidden) for inner in cast("list[Any]", value)]
    is_secret = hidden and value is not None and not isinstance(value, bool) and value != ""
    return labels.mask(str(value)) if is_secret else value


def _env_lines(name: str, value: str, raw: str, labels: _Labels) -> list[str]:
    if not name:
        return [_masked_line(raw, labels)]
    if _SECRET_NAME.search(name) and value:
        return [f"{name}={labels.mask(value)}"]
    return raw.split("\n")


def _masked_line(line: str, labels: _Labels) -> str:
    """A line that is no statement: a commented-out assignment keeps its name only; broken JSON with a secret's name, nothing."""
    if not _SECRET_NAME.search(line):
        return line
    match = _COMMENTED.fullmatch(line)
    if match is not None:
        return match[1] + labels.mask(match[2].strip())
    if line.lstrip().startswith("#"):
        return line
    return labels.mask(line)
