"""A string that must not be shown: an API key, a token. It masks itself wherever it is printed."""

from __future__ import annotations

__all__ = ["MASK", "Secret"]

MASK = "***"


class Secret:
    """Holds a secret; `str()`, `repr()` and every format give `***`, and only `reveal()` gives the text.

    It is not a `str`, so that joining it into a message by mistake masks it too.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the one place that sends it."""
        return self._text

    def redact(self, text: str) -> str:
        """`text` with every occurrence of the secret masked, for words that came from outside."""
        return text.replace(self._text, MASK) if self._text else text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not written to a file or sent to another process")
