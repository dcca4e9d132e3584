"""The `.env` dialect: what Docker Compose and a shell agree on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdrant_backup.installation.env_file import parse_env, statements

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1", {"A": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("  A = 1  ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("# A=1\n\n  # B=2\nC=3", {"C": "3"}),
        ("A=1 # a comment", {"A": "1"}),
        ("A=#nothing", {"A": ""}),
        ("A=a#b", {"A": "a#b"}),
        ("A='a # b'  # a comment", {"A": "a # b"}),
        ('A="a # b"', {"A": "a # b"}),
        (r'A="x\"y\\z\n"', {"A": 'x"y\\z\n'}),
        (r"A='x\n'", {"A": r"x\n"}),
        ("A='one\ntwo'\nB=3", {"A": "one\ntwo", "B": "3"}),
        ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
        ('A="never closed\nB=3', {"A": '"never closed', "B": "3"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=b=c==", {"A": "b=c=="}),
        ("not an assignment\n=x\n1A=2", {}),
        (r"A=C:\new", {"A": r"C:\new"}),
    ],
)
def test_a_value_is_what_a_shell_would_read(text: str, values: dict[str, str]) -> None:
    assert parse_env(text) == values


@given(st.dictionaries(NAMES, st.text(st.characters(exclude_characters="'\r", exclude_categories=["Cs"]))))
def test_single_quotes_keep_any_text(values: dict[str, str]) -> None:
    assert parse_env("\n".join(f"{name}='{value}'" for name, value in values.items())) == values


@given(st.text(alphabet="AB= '\"\\#\n$x"))
def test_no_text_fails_and_no_line_is_lost(text: str) -> None:
    assert "\n".join(statement.raw for statement in statements(text)) == text
