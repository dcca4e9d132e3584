"""Searching: `query`, `search`, batches and groups, from the REST API's JSON to the engine's requests.

A collection of several shards asks each and joins the answers by score; a fusion is then made within each shard, which
the server makes over all of them. Good enough for what this server is for, and said here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qdrant_edge as edge

from qdrant_backup.engine.rest.answers import ApiError, bad_input, not_found
from qdrant_backup.engine.rest.filters import filter_of, point_id_of
from qdrant_backup.engine.rest.points import DEFAULT_LIMIT, order_by_of, sort_key
from qdrant_backup.engine.rest.values import JsonObject, is_list, is_object, list_in
from qdrant_backup.engine.rest.vectors import named_vector, payload_choice, shown_of, vector_choice

if TYPE_CHECKING:
    from qdrant_backup.engine.rest.collection import Collection
    from qdrant_backup.engine.rest.storage import Storage

__all__ = ["query", "query_groups", "search_body"]

SMALLER_IS_BETTER = ("Euclid", "Manhattan")
MOST_GROUPED = 10_000


class _Resolver:
    """Turns vectors given by the id of a point into vectors, and remembers the ids: they are no answers."""

    def __init__(self, storage: Storage, collection: Collection, given: JsonObject) -> None:
        self.using: str = given.get("using") or ""
        self.seen: set[Any] = set()
        lookup: JsonObject = given.get("lookup_from") or {}
        self._own = not lookup
        self._collection = storage.collection(lookup["collection"]) if lookup else collection
        self._name: str = lookup.get("vector") or self.using

    def vector(self, given: Any) -> Any:
        if isinstance(given, bool) or not isinstance(given, (int, str)):
            return named_vector(given)
        point_id = point_id_of(given)
        found = self._collection.find([point_id], False, True)
        if not found:
            description = f"No point with id {given} found"
            raise not_found(description)
        if self._own:
            self.seen.add(point_id)
        vectors = found[0].vector
        if is_object(vectors):
            if self._name not in vectors:
                description = f"Point {given} has no vector named {self._name}"
                raise bad_input(description)
            return vectors[self._name]
        return vectors


def _mean(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _recommend(given: JsonObject, resolver: _Resolver) -> Any:
    positives = [resolver.vector(one) for one in given.get("positive") or ()]
    negatives = [resolver.vector(one) for one in given.get("negative") or ()]
    strategy = given.get("strategy") or "average_vector"
    examples = edge.RecommendQuery(positives, negatives)
    if strategy == "best_score":
        return edge.Query.RecommendBestScore(examples, resolver.using)
    if strategy == "sum_scores":
        return edge.Query.RecommendSumScores(examples, resolver.using)
    if not positives:
        description = "At least one positive vector ID required"
        raise bad_input(description)
    target = _mean(positives)
    if negatives:
        against = _mean(negatives)
        target = [2 * mine - other for mine, other in zip(target, against, strict=True)]
    return edge.Query.Nearest(target, resolver.using)


def _pairs(given: Any, resolver: _Resolver) -> list[Any]:
    listed = list_in({"given": given}, "given")
    return [edge.ContextPair(resolver.vector(one["positive"]), resolver.vector(one["negative"])) for one in listed]


def _nearest(given: JsonObject, resolver: _Resolver, limit: int) -> Any:
    vector = resolver.vector(given["nearest"])
    mmr: JsonObject | None = given.get("mmr")
    if mmr is None:
        return edge.Query.Nearest(vector, resolver.using)
    diversity = 0.5 if mmr.get("diversity") is None else mmr["diversity"]
    return edge.Mmr(vector, 1.0 - diversity, mmr.get("candidates_limit") or limit, resolver.using)


def _fusion(given: JsonObject) -> Any:
    if "rrf" in given:
        options: JsonObject = given["rrf"] or {}
        return edge.Fusion.Rrf(options.get("k") or 2, options.get("weights"))
    return edge.Fusion.Dbsf() if given["fusion"] == "dbsf" else edge.Fusion.Rrf(2)


def _scoring(given: Any, resolver: _Resolver, limit: int) -> Any:  # noqa: PLR0911 - one for each form of a query
    """The engine's query for a `query` in any of its forms."""
    if given is None:
        return None
    if not is_object(given) or "indices" in given:
        return edge.Query.Nearest(resolver.vector(given), resolver.using)
    if "nearest" in given:
        return _nearest(given, resolver, limit)
    if "recommend" in given:
        return _recommend(given["recommend"], resolver)
    if "discover" in given:
        target = resolver.vector(given["discover"]["target"])
        pairs = _pairs(given["discover"].get("context"), resolver)
        return edge.Query.Discover(edge.DiscoverQuery(target, pairs), resolver.using)
    if "context" in given:
        return edge.Query.Context(edge.ContextQuery(_pairs(given["context"], resolver)), resolver.using)
    if "order_by" in given:
        return order_by_of(given["order_by"])
    if "fusion" in given or "rrf" in given:
        return _fusion(given)
    if "sample" in given:
        return edge.Sample.Random
    return edge.Query.Nearest(named_vector(given), resolver.using)


def _params(given: JsonObject | None) -> Any:
    if not given:
        return None
    quantization: JsonObject | None = given.get("quantization")
    wanted = None
    if quantization:
        wanted = edge.QuantizationSearchParams(
            quantization.get("ignore") or False, quantization.get("rescore"), quantization.get("oversampling")
        )
    return edge.SearchParams(
        given.get("hnsw_ef"), given.get("exact") or False, wanted, given.get("indexed_only") or False
    )


def _without(condition: Any, seen: set[Any]) -> Any:
    if not seen:
        return condition
    others = edge.Filter(must_not=[edge.HasIdCondition(seen)])
    return edge.Filter(must=[condition, others]) if condition is not None else others


def _prefetches(storage: Storage, collection: Collection, given: Any) -> list[Any] | None:
    if not given:
        return None
    made: list[Any] = []
    for one in list_in({"given": given}, "given"):
        resolver = _Resolver(storage, collection, one)
        limit: int = one.get("limit") or DEFAULT_LIMIT
        scoring = _scoring(one.get("query"), resolver, limit)
        made.append(
            edge.Prefetch(
                limit,
                scoring,
                _prefetches(storage, collection, one.get("prefetch")),
                _params(one.get("params")),
                _without(filter_of(one.get("filter")), resolver.seen),
                one.get("score_threshold"),
            )
        )
    return made


def _descending(collection: Collection, body: JsonObject) -> bool:
    """Whether a higher score is a better one."""
    given = body.get("query")
    if is_object(given):
        if "order_by" in given:
            order = given["order_by"]
            return is_object(order) and order.get("direction") == "desc"
        if given.keys() & {"fusion", "rrf", "discover", "context", "sample"}:
            return True
        if given.get("recommend", {}).get("strategy") in ("best_score", "sum_scores"):
            return True
    vectors: JsonObject = collection.record.config["params"]["vectors"]
    vector: JsonObject = vectors if isinstance(vectors.get("size"), int) else vectors.get(body.get("using") or "", {})
    return vector.get("distance") not in SMALLER_IS_BETTER


def _scored_json(point: Any) -> JsonObject:
    found: JsonObject = {"id": point.id, "version": point.version, "score": point.score}
    found |= shown_of(point)
    if point.order_value is not None:
        found["order_value"] = point.order_value
    return found


def query(storage: Storage, collection: Collection, body: JsonObject) -> list[JsonObject]:
    """The points that answer a `POST /collections/{c}/points/query` body, best first.

    Raises:
        ApiError: 400 or 404.
    """
    limit: int = DEFAULT_LIMIT if body.get("limit") is None else body["limit"]
    if limit < 1:
        message = f"Validation error in JSON body: [limit: value {limit} invalid, must be 1 or larger]"
        raise ApiError(422, message)
    offset: int = body.get("offset") or 0
    resolver = _Resolver(storage, collection, body)
    scoring = _scoring(body.get("query"), resolver, limit)
    several = len(collection.shards) > 1
    request = edge.QueryRequest(
        limit=limit + offset if several else limit,
        offset=0 if several else offset,
        query=scoring,
        prefetches=_prefetches(storage, collection, body.get("prefetch")),
        with_vector=vector_choice(body.get("with_vector"), False),
        with_payload=payload_choice(body.get("with_payload"), False),
        filter=_without(filter_of(body.get("filter")), resolver.seen),
        score_threshold=body.get("score_threshold"),
        params=_params(body.get("params")),
    )
    with collection.lock:
        found = [point for engine in collection.open_shards() for point in engine.query(request)]
    if several:
        found = _joined(found, collection, body)[offset : offset + limit]
    return [_scored_json(point) for point in found]


def _joined(found: list[Any], collection: Collection, body: JsonObject) -> list[Any]:
    """The answers of several shards as one."""
    if body.get("query") is None and not body.get("prefetch"):
        return sorted(found, key=lambda point: sort_key(point.id))
    ordered = is_object(body.get("query")) and "order_by" in body["query"]

    def key(point: Any) -> float:
        return point.order_value if ordered else point.score

    return sorted(found, key=key, reverse=_descending(collection, body))


def search_body(body: JsonObject) -> JsonObject:
    """A body of the older `points/search` as one of `points/query`."""
    given = body["vector"]
    using = body.get("using")
    if is_object(given) and "name" in given:
        given, using = given["vector"], given["name"]
    return {**{key: value for key, value in body.items() if key != "vector"}, "query": given, "using": using}


def _values(payload: Any, path: str) -> list[Any]:
    """The values of a payload field that points can be grouped by."""
    for key in path.split("."):
        payload = payload.get(key) if is_object(payload) else None
    listed = payload if is_list(payload) else [payload]
    return [one for one in listed if isinstance(one, (str, int)) and not isinstance(one, bool)]


def query_groups(storage: Storage, collection: Collection, body: JsonObject) -> JsonObject:
    """The best points of each of the best groups.

    Raises:
        ApiError: as `query`.
    """
    limit, size = body.get("limit") or DEFAULT_LIMIT, body.get("group_size") or 3
    path: str = body["group_by"]
    plain = {key: value for key, value in body.items() if key not in ("group_by", "group_size")}
    everything = {**plain, "limit": MOST_GROUPED, "with_payload": True, "with_vector": False}
    groups: dict[Any, list[JsonObject]] = {}
    for point in query(storage, collection, everything):
        for value in _values(point.get("payload"), path):
            if value not in groups and len(groups) >= limit:
                continue
            hits = groups.setdefault(value, [])
            if len(hits) < size:
                hits.append(point)
    chosen = [point["id"] for hits in groups.values() for point in hits]
    shown = _shown(collection, body, chosen)
    listed = [
        {"id": value, "hits": [{**_bare(point), **shown[point["id"]]} for point in hits]}
        for value, hits in groups.items()
    ]
    return {"groups": listed}


def _bare(point: JsonObject) -> JsonObject:
    return {key: value for key, value in point.items() if key not in ("payload", "vector")}


def _shown(collection: Collection, body: JsonObject, ids: list[Any]) -> dict[Any, JsonObject]:
    """Payload and vector of these points, as far as they were asked for."""
    payload, vector = payload_choice(body.get("with_payload"), False), vector_choice(body.get("with_vector"), False)
    shown: dict[Any, JsonObject] = {one: {} for one in ids}
    with collection.lock:
        for engine in collection.open_shards():
            for record in engine.retrieve(ids, payload, vector):
                shown[record.id] |= shown_of(record)
    return shown
