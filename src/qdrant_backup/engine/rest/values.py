"""Looking into JSON whose shape the client chose."""

from __future__ import annotations

from typing import Any, TypeGuard

__all__ = ["JsonObject", "is_list", "is_object", "list_in", "object_in"]

JsonObject = dict[str, Any]


def is_object(given: Any) -> TypeGuard[JsonObject]:
    """Whether it is a JSON object."""
    return isinstance(given, dict)


def is_list(given: Any) -> TypeGuard[list[Any]]:
    """Whether it is a JSON list."""
    return isinstance(given, list)


def object_in(given: JsonObject, key: str) -> JsonObject:
    """The object under a key; an empty one where there is none, or null."""
    found: JsonObject | None = given.get(key)
    return found or {}


def list_in(given: JsonObject, key: str) -> list[Any]:
    """The list under a key: one value counts as a list of it, none or null as an empty one."""
    found = given.get(key)
    if found is None:
        return []
    return found if is_list(found) else [found]
