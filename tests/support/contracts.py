"""The schemas of docs/json.md, and whether a document is what they say."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["faults", "matches", "schemas"]

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
BLOCK = re.compile(r"^```json schema ([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KNOWN = {"type", "properties", "required", "items", "enum", "additionalProperties", "format", "$ref"}


@functools.cache
def schemas() -> dict[str, Any]:
    return {name: json.loads(text) for name, text in BLOCK.findall(PAGE.read_text("utf-8"))}


def _has_type(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def faults(value: Any, schema: dict[str, Any], at: str = "$") -> Iterator[str]:
    """What of `value` is not as the schema says; what the schema does not list is a fault too."""
    assert set(schema) <= KNOWN, schema
    if "$ref" in schema:
        yield from faults(value, schemas()[schema["$ref"]], at)
        return
    types = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type")
    if types and not any(_has_type(value, name) for name in types):
        yield f"{at}: {value!r} is no {types}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if schema.get("format") == "date-time" and value is not None:
        moment = datetime.fromisoformat(value)
        if moment.utcoffset() != timedelta(0):
            yield f"{at}: {value!r} is not UTC"
    if isinstance(value, dict) and "type" in schema:
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        yield from (f"{at}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in value.items():
            if name in known or other is not None:
                yield from faults(inner, known.get(name, other), f"{at}.{name}")
            else:
                yield f"{at}: {name} is not documented"
    if isinstance(value, list) and "items" in schema:
        for number, inner in enumerate(value):
            yield from faults(inner, schema["items"], f"{at}[{number}]")


def matches(name: str, value: Any) -> None:
    """Fails unless `value` is what docs/json.md says of that document."""
    assert list(faults(value, schemas()[name])) == [], name
