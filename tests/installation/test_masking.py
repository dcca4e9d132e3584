"""A difference between config files shows what changed and no secret."""

from __future__ import annotations

import json

import pytest

from qdrant_backup.installation.masking import masked_difference

OLD, NEW = "old-secret-123", "new-secret-456"


def difference(name: str, old: str, new: str) -> str:
    text = masked_difference(name, old.encode(), new.encode())
    assert OLD not in text
    assert NEW not in text
    return text


@pytest.mark.parametrize(
    ("name", "template"),
    [
        (".env", "QDRANT_API_KEY={}\n"),
        (".env", "export QDRANT_API_KEY = '{}' # the key\n"),
        (".env", 'PRIVATE_KEY="-----BEGIN\n{}\n-----END"\n'),
        (".env", "# OLD_TOKEN={}\n"),
        (".env", "DATABASE=postgres://me:{}@host/db\n"),
        (".env", "GRAFANA_ADMIN_PASSWORD={}\nWELCOME=your password is {}\n"),
        ("settings.json", '{{"env": {{"QDRANT_API_KEY": "{}"}}}}'),
        ("settings.json", '{{"tokens": ["{}"], "x": 1}}'),
        ("settings.json", '{{"auth": {{"user": "me", "value": "{}"}}}}'),
        ("settings.json", '{{"broken": 1, "api_key": "{}"'),
        ("settings.json", '{{"hook": "curl -H http://u:{}@h/x"}}'),
    ],
)
def test_no_secret_is_shown_and_the_change_is(name: str, template: str) -> None:
    text = difference(
        name,
        template.replace("{}", OLD).replace("{{", "{").replace("}}", "}"),
        template.replace("{}", NEW).replace("{{", "{").replace("}}", "}"),
    )
    assert "***" in text or "differ" in text


def test_a_changed_secret_shows_as_changed() -> None:
    text = difference(".env", f"API_KEY={OLD}\n", f"API_KEY={NEW}\n")
    assert "-API_KEY=***1" in text
    assert "+API_KEY=***2" in text


def test_an_unchanged_secret_does_not_show_as_changed() -> None:
    text = difference(".env", f"API_KEY={OLD}\nPORT=1\n", f"API_KEY={OLD}\nPORT=2\n")
    assert [line for line in text.splitlines()[2:] if line[0] in "+-"] == ["-PORT=1", "+PORT=2"]


def test_what_is_no_secret_is_shown() -> None:
    text = difference("settings.json", '{"limit": 1, "use_keyless": null}', '{"limit": 2, "use_keyless": null}')
    assert '-  "limit": 1' in text
    assert '+  "limit": 2' in text


def test_layout_alone_is_said_to_be_layout() -> None:
    old = {"a": 1, "b": [1, 2]}
    assert "only white space" in difference("settings.json", json.dumps(old), json.dumps(old, indent=4))


def test_bytes_that_are_no_text_are_not_shown() -> None:
    assert masked_difference("settings.json", b"\xff\x00", b"{}").endswith("at least one is not text")


def test_a_very_long_line_is_shortened() -> None:
    assert len(difference(".env", "A=" + "x" * 100_000, "A=1")) < 1000
