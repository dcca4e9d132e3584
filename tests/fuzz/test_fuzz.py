"""Archives, manifests, digests and journals that are damaged in every way end in their own errors and in no others.

Some hundred examples here; `make fuzz` takes many thousands, and lets coverage lead a second fuzzer (`guided.py`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from seeds import CORPUS, seeds  # noqa: E402 - found by the line above
from targets import TARGETS, journal_file, manifest_file  # noqa: E402

from support import archives  # noqa: E402

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
SEEDS = {target: list(found.values()) for target, found in seeds().items()}

Target = Callable[[bytes], object]
EACH = pytest.mark.parametrize("name", TARGETS)


Edit = tuple[str, int, int, bytes]


def mutate(data: bytes, edits: Sequence[Edit]) -> bytes:
    """Bytes after some edits, each at a place modulo the length."""
    for kind, first, second, text in edits:
        size = len(data) or 1
        at, other = first % size, second % size
        low, high = min(at, other), max(at, other)
        if kind == "flip":
            data = data[:at] + bytes([data[at] ^ 1 << other % 8]) + data[at + 1 :] if data else text
        elif kind == "cut":
            data = data[:at]
        elif kind == "remove":
            data = data[:low] + data[high:]
        elif kind == "repeat":
            data = data[:high] + data[low:]
        elif kind == "insert":
            data = data[:at] + text + data[at:]
        else:
            data = data[:at] + text + data[at + len(text) :]
    return data


EDITS = st.lists(
    st.tuples(
        st.sampled_from(("flip", "flip", "cut", "remove", "repeat", "insert", "overwrite")),
        st.integers(0, 1 << 20),
        st.integers(0, 1 << 20),
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                (b"9" * 30, b"-1", b"null", b"[]", b"{}", b'"', b"../", b"\0" * 512, b"\xff" * 12, b"1e999")
            ),
        ),
    ),
    min_size=1,
    max_size=6,
)


@EACH
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_damaged_good_one_ends_in_its_own_errors(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[name]))
    TARGETS[name](mutate(seed, data.draw(EDITS)))


@EACH
@settings(max_examples=EXAMPLES)
@given(noise=st.binary(max_size=3000))
def test_noise_ends_in_its_own_errors(name: str, noise: bytes) -> None:
    TARGETS[name](noise)


def _resealed(block: bytes) -> bytes:
    from qdrant_backup.archive import tar

    return tar._sealed(bytearray(block))


@settings(max_examples=EXAMPLES)
@given(seed=st.sampled_from(SEEDS["archive"]), edits=EDITS, block=st.integers(0, 1000))
def test_headers_whose_checksums_were_made_to_fit_end_in_integrity_failed(
    seed: bytes, edits: Sequence[Edit], block: int
) -> None:
    at = block % (len(seed) // 512) * 512
    changed = mutate(seed[at : at + 512], edits)[:512].ljust(512, b"\0")
    TARGETS["archive"](seed[:at] + _resealed(changed) + seed[at + 512 :])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _with(raw: Any, path: list[int], value: object) -> object:
    """JSON with the value at a place of it, found by numbers modulo what is there."""
    if not path or not isinstance(raw, (dict, list)) or not raw:
        return value
    keys = list(raw) if isinstance(raw, dict) else list(range(len(raw)))
    chosen = keys[path[0] % len(keys)]
    changed = dict(raw) if isinstance(raw, dict) else list(raw)
    changed[chosen] = _with(changed[chosen], path[1:], value)
    return changed


@settings(max_examples=EXAMPLES)
@given(seed=st.sampled_from(SEEDS["manifest"]), path=st.lists(st.integers(0, 50), max_size=4), value=JSON)
def test_a_manifest_with_any_value_anywhere_ends_in_its_own_errors(seed: bytes, path: list[int], value: object) -> None:
    manifest_file(json.dumps(_with(json.loads(seed), path, value)).encode())


@settings(max_examples=EXAMPLES)
@given(seed=st.sampled_from(SEEDS["journal"]), path=st.lists(st.integers(0, 50), max_size=5), value=JSON)
def test_a_sealed_journal_with_any_value_anywhere_ends_in_its_own_errors(
    seed: bytes, path: list[int], value: object
) -> None:
    import hashlib

    body = json.dumps(_with(json.loads(seed)["document"], path, value))
    sealed = json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "document": 0})
    journal_file(sealed.replace('"document": 0', f'"document": {body}').encode())


@EACH
def test_the_seeds_are_good_and_those_that_are_kept_are_these(name: str) -> None:
    kept = {path.name: path.read_bytes() for path in (CORPUS / name).iterdir()}
    assert kept == seeds()[name], "run `python tests/fuzz/seeds.py`"
    for seed_name, data in kept.items():
        if seed_name != "end":
            assert TARGETS[name](data) is not None


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000


_DEEP = archives.archive([*archives.root_items()[:1], ("config.json", b"[" * 60_000)])

BOMBS = {
    "archive": _DEEP * 20,
    "manifest": b'{"a":' + b"[" * 500_000,
    "digest": b"QDIGEST1\xff\xff\x0f\x00" + b'{"later":' + b"[" * (1 << 20),
    "digests": b"\0\0\0\0QDIGEST1\xff\xff\xff\xff" + b"\0" * 500_000,
    "journal": b'{"sha256":"","document":' + b"[" * 500_000,
}


@EACH
def test_memory_stays_within_a_few_times_the_input(name: str) -> None:
    TARGETS[name](SEEDS[name][0])
    tracemalloc.start()
    try:
        TARGETS[name](BOMBS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(BOMBS[name]) + (4 << 20)


def test_the_fuzzer_that_coverage_leads_says_when_it_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    from guided import main

    if importlib.util.find_spec("atheris") is None:
        assert main(["1"]) == 0
        assert "not run" in capsys.readouterr().out
