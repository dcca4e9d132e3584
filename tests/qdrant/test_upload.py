"""Uploads: constant memory, a body that is complete or is not taken for complete, and early verdicts."""

from __future__ import annotations

import random
import socket
import threading
import tracemalloc
from email.parser import BytesParser

import pytest

from qdrant_backup.errors import AccessDenied, ConnectionFailed, IntegrityFailed, NotWritable, ServerRefused
from qdrant_backup.qdrant.server import Unanswered
from qdrant_backup.qdrant.upload import Multipart
from support.relay import Answer, Close, DropReply, Rate, Reset, Rule, Stall
from support.scripted import Reply

PATH = "/collections/c%20d/snapshots/upload"
GLOB = "POST /collections/*/snapshots/upload*"
DATA = random.Random(3).randbytes(2_000_003)
SUM = "ab" * 32


def send(server, data: bytes = DATA, **changes):
    arguments = {
        "snapshot_name": "mine.snapshot",
        "chunks": lambda: [data[at : at + 300_000] for at in range(0, len(data), 300_000)],
        "size_bytes": len(data),
        "checksum": SUM,
        **changes,
    }
    server.upload_snapshot("c d", **arguments)


def test_the_form_arrives_as_it_is_meant(qdrant, server):
    qdrant.on(f"POST {PATH}", Reply.result(True))
    send(server)
    (request,) = qdrant.requests
    assert request.target.partition("?")[2] == f"wait=true&priority=snapshot&checksum={SUM}"
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    form = BytesParser().parsebytes(
        b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + request.body
    )
    (part,) = (part for part in form.walk() if not part.is_multipart())
    assert part["content-disposition"] == 'form-data; name="snapshot"; filename="mine.snapshot"'
    assert request.body.count(DATA) == 1


def test_an_empty_file_can_be_sent(qdrant, server):
    qdrant.on(f"POST {PATH}", Reply.result(True))
    send(server, b"")


def test_a_name_cannot_break_out_of_its_header():
    head = next(iter(Multipart('a"\r\nX: y', list, 0, boundary="b")))
    assert b'filename="a%22%0D%0AX: y"\r\n' in head


def test_memory_does_not_grow_with_the_file():
    size = 200 * 1024 * 1024
    form = Multipart("a", lambda: (bytes(1024 * 1024) for _ in range(200)), size)
    tracemalloc.start()
    total = sum(len(piece) for piece in form)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == int(form.headers["content-length"])
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 500])
def test_a_verdict_that_comes_while_sending_is_read(qdrant, server, status):
    qdrant.on(f"POST {PATH}", Reply(status, b"no, because", unread=True))
    kind = AccessDenied if status in {401, 403} else ServerRefused
    big = bytes(20_000_000)
    with pytest.raises(kind, match="no, because"):
        send(server, big)


@pytest.mark.parametrize("status", [413, 403])
def test_a_proxys_verdict_on_the_head_is_read(through, relay, status):
    relay.rules.append(Rule(GLOB, Answer(status, b"too much", unread=True)))
    with pytest.raises((ServerRefused, AccessDenied), match="too much"):
        send(through, bytes(20_000_000))


def test_a_success_before_everything_was_sent_is_none(through, relay):
    relay.rules.append(Rule(GLOB, Answer(200, b'{"result": true}', unread=True)))
    with pytest.raises(ConnectionFailed, match="called a success after"):
        send(through, bytes(20_000_000))


@pytest.mark.parametrize("fault", [Reset(after=500_000, up=True), Close(after=500_000, up=True)])
def test_an_upload_cut_on_the_way_changed_nothing(qdrant, through, relay, fault):
    qdrant.on(f"POST {PATH}", Reply.result(True))
    relay.rules.append(Rule(GLOB, fault))
    with pytest.raises(ConnectionFailed, match="bytes of the file") as caught:
        send(through, bytes(20_000_000))
    assert not isinstance(caught.value, Unanswered)
    assert "Nothing was changed" in caught.value.advice


@pytest.mark.parametrize("fault", [DropReply(), Reset(after=2), Close(after=2), Answer(504, b"timeout", deliver=True)])
def test_a_lost_verdict_leaves_the_server_at_work_perhaps(qdrant, through, relay, fault):
    qdrant.on(f"POST {PATH}", Reply.result(True))
    relay.rules.append(Rule(GLOB, fault))
    with pytest.raises(Unanswered) as caught:
        send(through)
    assert "may still be at work" in caught.value.advice
    assert len(qdrant.requests) == 1


def test_a_silent_verdict_leaves_the_server_at_work_perhaps(qdrant, relay, connect):
    qdrant.on(f"POST {PATH}", Reply.result(True))
    relay.rules.append(Rule(GLOB, Stall(after=0)))
    with pytest.raises(Unanswered, match="silent for 1 s"):
        send(connect(relay.url, silence_s=1.0))


@pytest.mark.fault("N06")
def test_what_is_still_on_its_way_when_an_upload_is_given_up_never_arrives(qdrant, relay, connect):
    qdrant.on(f"POST {PATH}", Reply.result(True))
    relay.rules.append(Rule(GLOB, Rate(1_000_000, up=True)))
    with pytest.raises(ConnectionFailed):
        send(connect(relay.url, silence_s=1.0))
    relay.wait_until_idle(60)
    assert not any(request.body.endswith(b"--\r\n") for request in qdrant.requests)


def test_a_server_that_takes_nothing_is_given_up(qdrant, relay, connect):
    qdrant.on(f"POST {PATH}", Reply.result(True))
    relay.rules.append(Rule(GLOB, Stall(after=100_000, up=True)))
    with pytest.raises(ConnectionFailed, match="took nothing for 1 s") as caught:
        send(connect(relay.url, silence_s=1.0), bytes(64_000_000))
    assert not isinstance(caught.value, Unanswered)


def test_sending_has_the_patience_of_silence_and_not_of_connecting(connect):
    listener = socket.create_server(("127.0.0.1", 0))
    proceed = threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection:
            proceed.wait(60)
            got = b""
            while not got.endswith(b"--\r\n"):
                got = (got + connection.recv(1_000_000))[-100:]
            connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{"result": true}')

    thread = threading.Thread(target=serve)
    thread.start()
    # Longer than the patience for connecting, far shorter than that for silence.
    release = threading.Timer(1.0, proceed.set)
    release.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        send(connect(url, connect_timeout_s=0.2, silence_s=60.0), bytes(64_000_000))
    finally:
        release.join()
        listener.close()
        thread.join()


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_file_of_another_size_is_never_sent_as_complete(qdrant, server, size):
    qdrant.on(f"POST {PATH}", Reply.result(True))
    with pytest.raises(IntegrityFailed, match="changed while it was read"):
        send(server, size_bytes=size)


def test_a_file_that_cannot_be_read_is_not_the_servers_fault(qdrant, server):
    def unreadable():
        yield DATA[:1000]
        raise OSError(5, "Input/output error")

    qdrant.on(f"POST {PATH}", Reply.result(True))
    with pytest.raises(NotWritable, match="Input/output error"):
        send(server, chunks=unreadable)


def test_a_checksum_mismatch_is_shown_in_the_servers_words(qdrant, server):
    qdrant.on(f"POST {PATH}", Reply.error(400, "Checksum mismatch: expected a, actual b"))
    with pytest.raises(ServerRefused, match="Checksum mismatch"):
        send(server)
