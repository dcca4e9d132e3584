"""From the server's JSON to the engine's parameters: a collection's vectors, and its payload indexes."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from qdrant_backup.engine.rest.answers import ApiError, bad_input, bad_request
from qdrant_backup.engine.rest.values import JsonObject, is_object

__all__ = ["edge_config", "index_parameters", "schema_entry"]


DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Euclid": edge.Distance.Euclid,
    "Dot": edge.Distance.Dot,
    "Manhattan": edge.Distance.Manhattan,
}
DATATYPES = {
    "float32": edge.VectorStorageDatatype.Float32,
    "float16": edge.VectorStorageDatatype.Float16,
    "uint8": edge.VectorStorageDatatype.Uint8,
}
RATIOS = {
    "x4": edge.CompressionRatio.X4,
    "x8": edge.CompressionRatio.X8,
    "x16": edge.CompressionRatio.X16,
    "x32": edge.CompressionRatio.X32,
    "x64": edge.CompressionRatio.X64,
}
ENCODINGS = {
    "one_bit": edge.BinaryQuantizationEncoding.OneBit,
    "two_bits": edge.BinaryQuantizationEncoding.TwoBits,
    "one_and_half_bits": edge.BinaryQuantizationEncoding.OneAndHalfBits,
}
QUERY_ENCODINGS = {
    "default": edge.BinaryQuantizationQueryEncoding.Default,
    "binary": edge.BinaryQuantizationQueryEncoding.Binary,
    "scalar4bits": edge.BinaryQuantizationQueryEncoding.Scalar4Bits,
    "scalar8bits": edge.BinaryQuantizationQueryEncoding.Scalar8Bits,
}
TURBO_BITS = {
    "bits1": edge.TurboQuantBitSize.Bits1,
    "bits1_5": edge.TurboQuantBitSize.Bits1_5,
    "bits2": edge.TurboQuantBitSize.Bits2,
    "bits4": edge.TurboQuantBitSize.Bits4,
}
INDEX_TYPES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "keyword": (edge.KeywordIndexParams, ("is_tenant", "on_disk", "enable_hnsw")),
    "integer": (edge.IntegerIndexParams, ("lookup", "range", "is_principal", "on_disk", "enable_hnsw")),
    "float": (edge.FloatIndexParams, ("is_principal", "on_disk", "enable_hnsw")),
    "geo": (edge.GeoIndexParams, ("on_disk", "enable_hnsw")),
    "bool": (edge.BoolIndexParams, ("on_disk", "enable_hnsw")),
    "datetime": (edge.DatetimeIndexParams, ("is_principal", "on_disk", "enable_hnsw")),
    "uuid": (edge.UuidIndexParams, ("is_tenant", "on_disk", "enable_hnsw")),
    "text": (
        edge.TextIndexParams,
        ("min_token_len", "max_token_len", "lowercase", "ascii_folding", "phrase_matching", "on_disk", "enable_hnsw"),
    ),
}


ALWAYS_LISTED: dict[str, JsonObject] = {
    "integer": {"lookup": None, "range": None, "is_principal": None},
    "float": {"is_principal": None},
    "datetime": {"is_principal": None},
    "text": {"tokenizer": "word"},
}
"""Parameters that the server lists although they were not given (lib/segment/src/data_types/index.rs)."""


def _quantization(given: JsonObject | None) -> Any:
    if not given:
        return None
    (kind, options), *_ = given.items()
    always_ram = options.get("always_ram")
    if kind == "scalar":
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, options.get("quantile"), always_ram)
    if kind == "product":
        return edge.ProductQuantizationConfig(RATIOS[options["compression"]], always_ram)
    if kind == "binary":
        encoding = ENCODINGS.get(options.get("encoding") or "")
        query_encoding = QUERY_ENCODINGS.get(options.get("query_encoding") or "")
        return edge.BinaryQuantizationConfig(always_ram, encoding, query_encoding)
    if kind == "turbo":
        return edge.TurboQuantQuantizationConfig(always_ram, TURBO_BITS.get(options.get("bits") or ""))
    message = "Format error in JSON body: data did not match any variant of untagged enum QuantizationConfig"
    raise ApiError(400, message)


def _hnsw(given: JsonObject | None, base: JsonObject) -> Any:
    merged = {**base, **{key: value for key, value in (given or {}).items() if value is not None}}
    return edge.HnswIndexConfig(
        merged["m"],
        merged["ef_construct"],
        merged["full_scan_threshold"],
        merged.get("max_indexing_threads", 0),
        merged.get("on_disk"),
        merged.get("payload_m"),
        merged.get("inline_storage"),
    )


def _dense(given: JsonObject, hnsw: JsonObject) -> Any:
    multi = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if given.get("multivector_config") else None
    return edge.EdgeVectorParams(
        given["size"],
        DISTANCES[given["distance"]],
        given.get("on_disk"),
        multi,
        DATATYPES.get(given.get("datatype") or ""),
        _quantization(given.get("quantization_config")),
        _hnsw(given["hnsw_config"], hnsw) if given.get("hnsw_config") else None,
    )


def _sparse(given: JsonObject) -> Any:
    index: JsonObject = given.get("index") or {}
    modifier = edge.Modifier.Idf if given.get("modifier") == "idf" else None
    datatype = DATATYPES.get(index.get("datatype") or "")
    return edge.EdgeSparseVectorParams(index.get("full_scan_threshold"), index.get("on_disk"), modifier, datatype)


def edge_config(config: JsonObject) -> Any:
    """The engine's configuration for one shard of a collection configured so.

    Raises:
        ApiError: 400, the collection has no vectors: the engine cannot keep such a one.
    """
    params, hnsw = config["params"], config["hnsw_config"]
    vectors: JsonObject = params["vectors"]
    sparse: JsonObject = params.get("sparse_vectors") or {}
    if not vectors and not sparse:
        description = "the embedded server needs at least one vector in a collection"
        raise bad_input(description)
    single = isinstance(vectors.get("size"), int)
    dense: Any = _dense(vectors, hnsw) if single else {name: _dense(one, hnsw) for name, one in vectors.items()}
    optimizers: JsonObject = config["optimizer_config"]
    return edge.EdgeConfig(
        vectors=dense or None,
        sparse_vectors={name: _sparse(one) for name, one in sparse.items()} or None,
        on_disk_payload=params.get("on_disk_payload", True),
        hnsw_config=_hnsw(None, hnsw),
        quantization_config=_quantization(config.get("quantization_config")),
        optimizers=edge.EdgeOptimizersConfig(
            optimizers.get("deleted_threshold"),
            optimizers.get("vacuum_min_vector_number"),
            optimizers.get("default_segment_number"),
            optimizers.get("max_segment_size"),
            optimizers.get("indexing_threshold"),
        ),
    )


def _language(name: str) -> Any:
    language = getattr(edge.Language, name.capitalize(), None)
    if language is None:
        description = f"unknown language {name}"
        raise bad_input(description)
    return language


def _text_options(given: JsonObject) -> JsonObject:
    options: JsonObject = {}
    if given.get("tokenizer"):
        options["tokenizer"] = getattr(edge.TokenizerType, given["tokenizer"].capitalize())
    stopwords = given.get("stopwords")
    if isinstance(stopwords, str):
        options["stopwords"] = _language(stopwords)
    elif stopwords:
        languages = {_language(name) for name in stopwords.get("languages") or ()}
        options["stopwords"] = edge.StopwordsSet(languages or None, set(stopwords.get("custom") or ()) or None)
    stemmer = given.get("stemmer")
    if stemmer and stemmer.get("type") == "snowball":
        options["stemmer"] = edge.SnowballParams(getattr(edge.SnowballLanguage, stemmer["language"].capitalize()))
    return options


def schema_entry(given: Any) -> JsonObject:
    """A field's schema as the server lists it, without the count of points.

    Raises:
        ApiError: 400, there is no such type.
    """
    kind: Any = given.get("type") if is_object(given) else given
    if kind not in INDEX_TYPES:
        description = "Format error in JSON body: data did not match any variant of untagged enum PayloadFieldSchema"
        raise ApiError(400, description)
    if isinstance(given, str):
        return {"data_type": kind}
    fields: JsonObject = given
    params = {**ALWAYS_LISTED.get(kind, {}), **{key: value for key, value in fields.items() if value is not None}}
    return {"data_type": kind, "params": params}


def index_parameters(entry: JsonObject) -> Any:
    """The engine's parameters for a field listed so; its bare type where none were given, which is kept apart from defaults."""
    if "params" not in entry:
        return getattr(edge.PayloadSchemaType, entry["data_type"].capitalize())
    made, keys = INDEX_TYPES[entry["data_type"]]
    params: JsonObject = entry.get("params") or {}
    options = {key: params[key] for key in keys if params.get(key) is not None}
    if entry["data_type"] == "text":
        options.update(_text_options(params))
    if entry["data_type"] == "integer" and options.get("lookup") is False and options.get("range") is False:
        description = "the 'lookup' and 'range' capabilities can't be both disabled"
        raise bad_request(description)
    return made(**options)
