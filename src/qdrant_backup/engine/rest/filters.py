"""Filters: from the REST API's JSON to the engine's conditions."""

from __future__ import annotations

import uuid
from typing import Any

import qdrant_edge as edge

from qdrant_backup.engine.rest.answers import ApiError
from qdrant_backup.engine.rest.values import JsonObject, is_list, is_object

__all__ = ["filter_of", "point_id_of"]

PointId = int | uuid.UUID

_NO_CONDITION = (
    "Format error in JSON body: Expected some form of condition, which can be a field condition "
    '(like {"key": ..., "match": ... }), or some other mentioned in the documentation: '
    "https://qdrant.tech/documentation/concepts/filtering/#filtering-conditions"
)
_GEO_KEYS = ("geo_bounding_box", "geo_radius", "geo_polygon")


def _no_variant(enum: str) -> ApiError:
    return ApiError(400, f"Format error in JSON body: data did not match any variant of untagged enum {enum}")


def point_id_of(given: Any) -> PointId:
    """A point's id.

    Raises:
        ApiError: 400, it is neither a number from 0 to 2^64-1 nor a UUID.
    """
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 1 << 64:
        return given
    if isinstance(given, str):
        try:
            return uuid.UUID(given)
        except ValueError:
            pass
    shown = f'"{given}"' if isinstance(given, str) else given
    message = (
        f"Format error in JSON body: value {given} is not a valid point ID, "
        "valid values are either an unsigned integer or a UUID"
        if isinstance(given, (str, int))
        else f"Format error in JSON body: {shown} is no point ID"
    )
    raise ApiError(400, message)


def filter_of(given: JsonObject | None) -> Any:
    """The engine's filter, or None where there is none.

    Raises:
        ApiError: 400, a condition is none of those the server knows.
    """
    if not given:
        return None
    unknown = given.keys() - {"must", "should", "must_not", "min_should"}
    if unknown:
        message = f"Format error in JSON body: unknown field `{min(unknown)}`"
        raise ApiError(400, message)
    least: JsonObject | None = given.get("min_should")
    return edge.Filter(
        _conditions(given.get("must")),
        _conditions(given.get("should")),
        _conditions(given.get("must_not")),
        edge.MinShould(_conditions(least["conditions"]) or [], least["min_count"]) if least else None,
    )


def _conditions(given: Any) -> list[Any] | None:
    if given is None:
        return None
    return [_condition(one) for one in (given if is_list(given) else [given])]


def _condition(given: JsonObject) -> Any:
    if "has_id" in given:
        return edge.HasIdCondition({point_id_of(one) for one in given["has_id"]})
    if "has_vector" in given:
        return edge.HasVectorCondition(given["has_vector"])
    if "nested" in given:
        return edge.NestedCondition(given["nested"]["key"], filter_of(given["nested"]["filter"]) or edge.Filter())
    if "key" not in given:
        if is_object(given.get("is_empty")):
            return edge.IsEmptyCondition(given["is_empty"]["key"])
        if is_object(given.get("is_null")):
            return edge.IsNullCondition(given["is_null"]["key"])
        if given.keys() & {"must", "should", "must_not", "min_should"}:
            return filter_of(given)
        raise ApiError(400, _NO_CONDITION)
    return _field_condition(given)


def _field_condition(given: JsonObject) -> Any:
    options: JsonObject = {}
    if given.get("match") is not None:
        options["match"] = _match(given["match"])
    if given.get("range") is not None:
        options["range"] = _range(given["range"])
    if given.get("values_count") is not None:
        options["values_count"] = edge.ValuesCount(**given["values_count"])
    for key in ("is_empty", "is_null"):
        if given.get(key) is not None:
            options[key] = given[key]
    options.update(_geo(given))
    if not options:
        message = "Validation error in JSON body: [at least one field condition must be specified]"
        raise ApiError(422, message)
    return edge.FieldCondition(given["key"], **options)


_MATCHES: dict[str, Any] = {
    "value": edge.MatchValue,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
}


class _Truth:
    """A truth value that the engine's binding takes for one: it tries `int` first, and `True` is one in Python.

    It knows NumPy's class by these two names, and asks it through `__bool__`.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bool) -> None:  # noqa: FBT001 - it is nothing else
        self._value = value

    def __bool__(self) -> bool:
        return self._value


_Truth.__module__, _Truth.__name__ = "numpy", "bool_"


def _match(given: JsonObject) -> Any:
    for key, made in _MATCHES.items():
        if key in given:
            value = given[key]
            try:
                return made(_Truth(value) if isinstance(value, bool) else value)
            except (TypeError, ValueError):
                break
    raise _no_variant("Match")


def _range(given: JsonObject) -> Any:
    bounds = {key: value for key, value in given.items() if value is not None}
    try:
        if any(isinstance(value, str) for value in bounds.values()):
            return edge.RangeDateTime(**bounds)
        return edge.RangeFloat(**{key: float(value) for key, value in bounds.items()})
    except (TypeError, ValueError):
        raise _no_variant("RangeInterface") from None


def _point(given: JsonObject) -> Any:
    return edge.GeoPoint(given["lon"], given["lat"])


def _geo(given: JsonObject) -> JsonObject:
    options: JsonObject = {}
    box, radius, polygon = (given.get(key) for key in _GEO_KEYS)
    if box:
        options["geo_bounding_box"] = edge.GeoBoundingBox(_point(box["top_left"]), _point(box["bottom_right"]))
    if radius:
        options["geo_radius"] = edge.GeoRadius(_point(radius["center"]), radius["radius"])
    if polygon:
        interiors = [[_point(one) for one in ring["points"]] for ring in polygon.get("interiors") or ()]
        exterior = [_point(one) for one in polygon["exterior"]["points"]]
        options["geo_polygon"] = edge.GeoPolygon(exterior, interiors or None)
    return options
