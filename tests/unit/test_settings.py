"""Settings: the first place wins, every value knows its place, and a secret is never shown."""

from __future__ import annotations

import pytest

from qdrant_backup import settings as s
from qdrant_backup.errors import UsageError
from qdrant_backup.secret import Secret


def unread(path: str) -> str:
    raise AssertionError(path)


def resolved(*layers: dict[str, str]) -> s.Settings:
    return s.resolve([s.Layer(f"place {number}", texts) for number, texts in enumerate(layers)], unread)


def test_the_guide_s_variables_keep_their_names_and_defaults() -> None:
    found = resolved({})
    assert found.url == "http://localhost:26350"
    assert found.get("install_dir") == "~/.ai-memory"
    assert found.get("silence_timeout") == 300.0
    assert {v.source for v in found.values.values()} == {"default"}


def test_the_first_place_that_has_a_text_decides_and_is_named() -> None:
    found = resolved({"QDRANT_PORT": ""}, {"QDRANT_PORT": "1234"}, {"QDRANT_PORT": "5", "QDRANT_HOST": "h"})
    assert (found.get("port"), found.source("port")) == (1234, "place 1")
    assert (found.get("host"), found.source("host")) == ("h", "place 2")


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "1.5", "٣"])
def test_a_port_that_is_no_number_is_a_usage_error_that_names_its_place(port: str) -> None:
    with pytest.raises(UsageError, match=r"QDRANT_PORT .*place 0"):
        resolved({"QDRANT_PORT": port})


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_timeout_is_a_number_of_seconds(seconds: str) -> None:
    with pytest.raises(UsageError):
        resolved({"SNAPSHOT_UPLOAD_TIMEOUT": seconds})


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("500", 500), ("1K", 1024), ("1.5 MB", 3 << 19), ("20 GiB", 20 << 30), ("2t", 2 << 40)],
)
def test_a_size_may_have_a_unit(text: str, size_bytes: int) -> None:
    assert resolved({"QDRANT_BACKUP_CACHE_BYTES": text}).get("cache_bytes") == size_bytes


@pytest.mark.parametrize("text", ["-1", "much", "1 X", "1 KiBB", "1e3", "٣"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="QDRANT_BACKUP_CACHE_BYTES"):
        resolved({"QDRANT_BACKUP_CACHE_BYTES": text})


@pytest.mark.parametrize("url", ["ftp://x", "localhost:6333", "http://", "http://u:p@x", "http://x?y", "http://x:y"])
def test_a_url_that_is_no_server_s_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        resolved({"QDRANT_URL": url})


def test_a_url_wins_over_host_and_port_and_an_ipv6_host_gets_its_brackets() -> None:
    assert resolved({"QDRANT_URL": "https://q.example/x/", "QDRANT_PORT": "1"}).url == "https://q.example/x"
    assert resolved({"QDRANT_URL": "https://q.example/x/"}).address == ("q.example", 443)
    assert resolved({"QDRANT_HOST": "::1"}).url == "http://[::1]:26350"


def test_a_secret_is_masked_wherever_it_is_shown() -> None:
    found = resolved({"QDRANT_API_KEY": "canary"})
    assert found.api_key.reveal() == "canary"
    value = found.values["api_key"]
    assert "canary" not in f"{value.shown} {found.api_key} {found.api_key!r} {value!r}"


def test_a_secret_comes_from_the_file_that_its_variable_names() -> None:
    found = s.resolve([s.Layer("environment", {"QDRANT_API_KEY_FILE": "/run/key"})], {"/run/key": "abc\n"}.__getitem__)
    assert found.api_key == Secret("abc")
    assert found.source("api_key") == "environment, QDRANT_API_KEY_FILE"


def test_a_secret_given_twice_in_one_place_is_refused() -> None:
    with pytest.raises(UsageError, match="both"):
        resolved({"QDRANT_API_KEY": "a", "QDRANT_API_KEY_FILE": "b"})


@pytest.mark.parametrize("key", ["a\nb", "ä", "a\0", "   "])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved({"QDRANT_API_KEY": key})
    assert key not in str(caught.value).replace(" ", "")


def test_a_settings_file_speaks_in_keys() -> None:
    layer = s.from_toml({"port": 7, "allow_http": True, "api_key_file": "k"}, "qdrant-backup.toml")
    assert layer.texts == {"QDRANT_PORT": "7", "QDRANT_BACKUP_ALLOW_HTTP": "1", "QDRANT_API_KEY_FILE": "k"}


@pytest.mark.parametrize("table", [{"prot": 1}, {"port": [1]}, {"api_key": "x"}, {"port_file": "x"}])
def test_a_settings_file_with_a_typo_or_a_secret_in_it_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        s.from_toml(table, "qdrant-backup.toml")
