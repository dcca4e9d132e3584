"""Embedding commands and services: what they may answer, and how each failure is said."""

from __future__ import annotations

import http.server
import json
import shlex
import sys
import threading
from collections.abc import Iterator

import pytest

from qdrant_backup.errors import OperationFailed, QdrantBackupError, UsageError
from qdrant_backup.operations.looking.embedding import embedded_by_command, embedded_by_url, vector_in


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2.5],
        [[1, 2.5]],
        {"embedding": [1, 2.5]},
        {"embeddings": [[1, 2.5]]},
        {"data": [{"embedding": [1, 2.5], "index": 0}], "model": "x"},
    ],
)
def test_a_vector_is_found_however_it_is_wrapped(answer):
    assert vector_in(answer, "it") == [1.0, 2.5]


@pytest.mark.parametrize("answer", [[], {}, None, "x", [1, "x"], [True], {"data": []}, [1, None], {"error": "no"}])
def test_what_is_no_vector_is_refused(answer):
    with pytest.raises(OperationFailed, match="no vector"):
        vector_in(answer, "it")


def test_a_command_gets_the_text_and_prints_the_vector():
    command = python("import sys, json; text = sys.stdin.read(); print(json.dumps([len(text), text.count('ü')]))")

    assert embedded_by_command(command, "über üben") == [9.0, 2.0]


def test_a_command_need_not_read_its_input():
    assert embedded_by_command(python("print([1])"), "x" * (1 << 20)) == [1.0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('no model here', file=sys.stderr); sys.exit(3)", ["code 3", "no model here"]),
        ("print('hello')", ["no JSON"]),
        ("print('[' + '1,' * 5_000_000 + '1]')", ["prints too much"]),
        ("pass", ["no JSON"]),
    ],
)
def test_a_command_that_fails_says_how(code, words):
    with pytest.raises(OperationFailed) as failed:
        embedded_by_command(python(code), "x")

    for word in words:
        assert word in str(failed.value)


def test_a_command_that_hangs_is_ended():
    with pytest.raises(OperationFailed, match="did not end"):
        embedded_by_command(python("import time; time.sleep(100)"), "x", longest_s=0.5)


@pytest.mark.parametrize("command", ["", "'unclosed", "/no/such/program"])
def test_a_command_that_is_none_is_refused(command):
    with pytest.raises(UsageError):
        embedded_by_command(command, "x")


@pytest.fixture
def service() -> Iterator[str]:
    class Embedding(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status = 500 if asked["input"] == "fail" else 200
            body = json.dumps({"data": [{"embedding": [len(asked["input"]), 1]}], "model": asked.get("model")}).encode()
            self.send_response(status if self.path == "/v1/embeddings" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Embedding) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/embeddings"
        server.shutdown()
        thread.join()


def test_a_service_answers_as_openais_does(service: str):
    assert embedded_by_url(service, "four", model="small") == [4.0, 1.0]


@pytest.mark.parametrize(("path", "text"), [("", "fail"), ("/elsewhere", "x")])
def test_a_service_that_refuses_is_said(service: str, path: str, text: str):
    with pytest.raises(OperationFailed, match="refused: HTTP"):
        embedded_by_url(service + path, text)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "nonsense", "ftp://x/y"])
def test_no_service_is_said(url: str):
    with pytest.raises(QdrantBackupError):
        embedded_by_url(url, "x")
