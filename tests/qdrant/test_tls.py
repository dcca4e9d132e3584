"""TLS: verified by default, its failures named, no way down to plain http."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from qdrant_backup.errors import ConnectionFailed, NotQdrant, UsageError
from support.authority import Authority
from support.scripted import Junk, Reply, Scripted

pytestmark = [
    pytest.mark.fault("N13"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl"),
]

NAMES = Reply.result({"collections": []})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Scripted]:
    """A TLS server; parametrize with (names, expired)."""
    names, expired = getattr(request, "param", ("IP:127.0.0.1", False))
    server = Scripted(authority.context(names, expired=expired))
    server.on("GET /collections", NAMES)
    yield server
    server.close()


def test_the_named_authority_is_trusted(secure, authority, connect):
    assert connect(secure.url, ca_file=authority.pem).collections() == ()
    assert secure.requests[0].headers["api-key"]


def test_an_unknown_authority_is_named_and_nothing_is_sent(secure, connect):
    with pytest.raises(ConnectionFailed, match="not trusted here") as caught:
        connect(secure.url).collections()
    assert "--ca-file" in caught.value.advice
    assert secure.requests == []


@pytest.mark.parametrize("secure", [("DNS:elsewhere.example", False), ("IP:10.0.0.1", False)], indirect=True)
def test_a_certificate_for_somebody_else_is_named(secure, authority, connect):
    with pytest.raises(ConnectionFailed, match=r"for another (host name|address)"):
        connect(secure.url, ca_file=authority.pem).collections()
    assert secure.requests == []


@pytest.mark.parametrize("secure", [("IP:127.0.0.1", True)], indirect=True)
def test_an_expired_certificate_is_named(secure, authority, connect):
    with pytest.raises(ConnectionFailed, match="has expired"):
        connect(secure.url, ca_file=authority.pem).collections()
    assert secure.requests == []


def test_tls_spoken_to_a_plain_port_is_named(qdrant, connect):
    with pytest.raises(NotQdrant, match="does not speak TLS"):
        connect(f"https://127.0.0.1:{qdrant.port}").collections()
    assert qdrant.requests == []


def test_plain_http_spoken_to_a_tls_port_is_named(secure, connect):
    with pytest.raises(ConnectionFailed, match="TLS"):
        connect(f"http://127.0.0.1:{secure.port}").collections()


def test_a_tls_alert_in_answer_to_plain_http_is_named(connect):
    junk = Junk(b"\x15\x03\x01\x00\x02\x02\x46")
    try:
        with pytest.raises(NotQdrant, match="speaks TLS"):
            connect(junk.url).collections()
    finally:
        junk.close()


def test_a_web_servers_words_about_its_tls_port_are_understood(qdrant, server):
    words = "<html><h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port</html>"
    for reply in (Reply.page(400, words), Reply(400, b"Client sent an HTTP request to an HTTPS server.\n")):
        qdrant.on("GET /collections", reply)
        with pytest.raises(NotQdrant, match="speaks TLS"):
            server.collections()


def test_an_upload_goes_through_tls_and_its_early_refusal_is_read(secure, authority, connect):
    server = connect(secure.url, ca_file=authority.pem)
    data = bytes(3_000_000)
    secure.on("POST /collections/c/snapshots/upload", Reply.result(True))
    sent = {"snapshot_name": "s.snapshot", "chunks": lambda: [data], "size_bytes": len(data), "checksum": "0" * 64}
    server.upload_snapshot("c", **sent)
    assert data in secure.requests[-1].body


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_ca_file_that_is_none_is_a_usage_error(connect, tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match="CA file"):
        connect("https://127.0.0.1:1", ca_file=str(path))
