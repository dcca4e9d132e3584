"""Downloads: each byte once and in order, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import random

import pytest

from qdrant_backup.errors import (
    AccessDenied,
    CollectionFailed,
    IntegrityFailed,
    NotQdrant,
    OperationFailed,
    ServerRefused,
)
from qdrant_backup.model import SnapshotDescription
from support.relay import Answer, Close, DropReply, FlipByte, Header, Refuse, Reset, Rule, Stall
from support.scripted import Reply, Request

SIZE = 3 * 1024 * 1024 + 17
DATA = random.Random(7).randbytes(SIZE)
PATH = "/collections/c%20d/snapshots/s.snapshot"
GLOB = "GET /collections/*/snapshots/s.snapshot"
MODIFIED = "Tue, 03 Feb 2026 14:30:52 GMT"


def ranged(etag: str = '"one"', modified: str = MODIFIED, data: bytes = DATA):
    """Answers like actix' NamedFile: Range only when If-Range still holds."""

    def answer(request: Request) -> Reply:
        headers = {"accept-ranges": "bytes"}
        headers.update({"etag": etag} if etag else {})
        headers.update({"last-modified": modified} if modified else {})
        wanted = request.headers.get("range")
        if wanted is None or request.headers.get("if-range") not in {etag, modified}:
            return Reply(200, data, headers)
        at = int(wanted.removeprefix("bytes=").removesuffix("-"))
        headers["content-range"] = f"bytes {at}-{len(data) - 1}/{len(data)}"
        return Reply(206, data[at:], headers)

    return answer


def fetch(server, size_bytes: int = SIZE):
    with server.download_snapshot("c d", SnapshotDescription("s.snapshot", size_bytes)) as download:
        got = b"".join(download)
    return got, download


def test_a_download_gives_every_byte(qdrant, server):
    qdrant.on(f"GET {PATH}", ranged())
    got, download = fetch(server)
    assert got == DATA
    assert (download.total_bytes, download.delivered_bytes, download.resumed) == (SIZE, SIZE, 0)


def test_chunks_are_at_most_a_mebibyte(qdrant, server):
    qdrant.on(f"GET {PATH}", ranged())
    with server.download_snapshot("c d", SnapshotDescription("s.snapshot", SIZE)) as download:
        assert max(len(chunk) for chunk in download) <= 1024 * 1024


@pytest.mark.parametrize("after", [0, 1, SIZE // 2, SIZE - 1])
@pytest.mark.parametrize("fault", [Reset, Close])
def test_a_break_is_resumed_by_range(qdrant, through, relay, after, fault):
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules.append(Rule(GLOB, fault(after=after)))
    got, download = fetch(through)
    assert got == DATA
    # After a reset the system may throw away what it had received, so less than `after` may have been delivered.
    assert download.resumed in ({0, 1} if after == 0 else {1})
    second = qdrant.requests[-1].headers
    assert second.get("if-range", '"one"') == '"one"'


def test_many_breaks_are_resumed_while_there_is_progress(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules.append(Rule(GLOB, Close(after=280_000), 11))
    got, download = fetch(through)
    assert got == DATA
    assert download.resumed == 11


def test_silence_is_resumed_too(qdrant, relay, connect):
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules.append(Rule(GLOB, Stall(after=1_000_000)))
    got, download = fetch(connect(relay.url, silence_s=2.0))
    assert got == DATA
    assert download.resumed == 1


def test_breaks_without_progress_end(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules.append(Rule(GLOB, Close(after=5), 9))
    with pytest.raises(CollectionFailed, match=f"short: got 45 of {SIZE} bytes.*9 times in a row") as caught:
        fetch(through)
    assert caught.value.collection == "c d"


def test_last_modified_serves_where_the_etag_is_weak(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", ranged(etag='W/"weak"'))
    relay.rules.append(Rule(GLOB, Close(after=1000)))
    got, _ = fetch(through)
    assert got == DATA
    assert qdrant.requests[-1].headers["if-range"] == MODIFIED


def test_a_server_that_ignores_ranges_is_read_past_what_is_there(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", Reply(200, DATA, {"etag": '"one"'}))
    relay.rules.append(Rule(GLOB, Close(after=SIZE // 2)))
    got, download = fetch(through)
    assert hashlib.sha256(got).digest() == hashlib.sha256(DATA).digest()
    assert download.delivered_bytes == SIZE


def test_a_file_that_changed_meanwhile_is_not_patched_together(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", ranged(), ranged(etag='"two"', modified="Tue, 03 Feb 2026 14:30:53 GMT"))
    relay.rules.append(Rule(GLOB, Close(after=1000)))
    with pytest.raises(CollectionFailed, match="another one now"):
        fetch(through)


def test_a_range_from_somewhere_else_is_refused(qdrant, through, relay):
    wrong = Reply(206, DATA[5:], {"etag": '"one"', "content-range": f"bytes 5-{SIZE - 1}/{SIZE}"})
    qdrant.on(f"GET {PATH}", ranged(), wrong)
    relay.rules.append(Rule(GLOB, Close(after=1000)))
    with pytest.raises(CollectionFailed, match="another one now"):
        fetch(through)


def test_without_a_validator_nothing_is_resumed(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", Reply(200, DATA))
    relay.rules.append(Rule(GLOB, Close(after=1000)))
    with pytest.raises(CollectionFailed, match="cannot resume"):
        fetch(through)


def test_without_a_validator_a_break_before_the_first_byte_is_begun_again(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", Reply(200, DATA))
    relay.rules.append(Rule(GLOB, Close(after=0)))
    assert fetch(through)[0] == DATA


@pytest.mark.parametrize(
    "reply", [Reply(200, DATA, no_length=True), Reply(200, DATA, chunked=True)], ids=["eof", "chunked"]
)
def test_a_body_without_a_length_is_measured_against_the_listing(qdrant, server, reply):
    qdrant.on(f"GET {PATH}", reply)
    assert fetch(server)[0] == DATA


@pytest.mark.parametrize("cut", [1, SIZE // 2, SIZE - 1])
@pytest.mark.parametrize("form", ["no_length", "chunked"])
def test_a_body_without_a_length_that_ends_early_is_noticed(qdrant, server, cut, form):
    qdrant.on(f"GET {PATH}", dataclasses.replace(Reply(200, DATA, cut=cut), **{form: True}))
    with pytest.raises(CollectionFailed, match=f"short: got .* of {SIZE} bytes"):
        fetch(server)


def test_a_body_without_a_length_that_is_too_long_is_noticed(qdrant, server):
    qdrant.on(f"GET {PATH}", Reply(200, DATA + b"x", no_length=True))
    with pytest.raises(IntegrityFailed):
        fetch(server)


@pytest.mark.parametrize("listed", [SIZE - 1, SIZE + 1])
def test_another_length_than_listed_is_an_integrity_error(qdrant, server, listed):
    qdrant.on(f"GET {PATH}", ranged())
    with pytest.raises(IntegrityFailed, match=f"sends {SIZE} bytes of a file it lists with {listed}"):
        fetch(server, listed)


def test_a_lie_about_the_length_is_an_integrity_error(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules.append(Rule(GLOB, Header("content-length", str(SIZE - 5))))
    with pytest.raises(IntegrityFailed):
        fetch(through)


def test_a_flipped_byte_passes_here_and_fails_the_checksum(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules.append(Rule(GLOB, FlipByte(at=1_000_000)))
    got, _ = fetch(through)
    assert len(got) == SIZE
    assert [at for at in range(SIZE) if got[at] != DATA[at]] == [1_000_000]


def test_a_compressed_download_is_refused(qdrant, server):
    qdrant.on(f"GET {PATH}", Reply(200, DATA, {"content-encoding": "zstd"}))
    with pytest.raises(OperationFailed, match=r"compressed \(zstd\)"):
        fetch(server)


def test_a_refusal_comes_out_at_once(qdrant, server):
    with pytest.raises(ServerRefused, match="HTTP 404"):
        fetch(server)
    qdrant.on(f"GET {PATH}", Reply(403, b"Forbidden"))
    with pytest.raises(AccessDenied, match="read"):
        fetch(server)


def test_a_snapshot_deleted_during_the_download_is_an_error(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", ranged(), Reply.error(404, "Not found: Snapshot s.snapshot"))
    relay.rules.append(Rule(GLOB, Close(after=1000)))
    with pytest.raises(ServerRefused, match=r"Snapshot s\.snapshot"):
        fetch(through)


def test_a_server_that_is_away_for_a_moment_is_waited_for(qdrant, through, relay, clock):
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules += [Rule(GLOB, Close(after=1000)), Rule(GLOB, Refuse(), 3), Rule(GLOB, DropReply())]
    assert fetch(through)[0] == DATA
    assert clock.sleeps == [0.25, 0.5, 1, 2, 4]


def test_a_proxys_moment_of_weakness_is_waited_for(qdrant, through, relay):
    qdrant.on(f"GET {PATH}", ranged(), Reply.page(503), ranged())
    relay.rules.append(Rule(GLOB, Close(after=1000)))
    assert fetch(through)[0] == DATA


@pytest.mark.parametrize("seed", range(4))
def test_random_breaks_never_give_wrong_data(qdrant, through, relay, seed):
    dice = random.Random(seed)
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules += [Rule(GLOB, dice.choice([Reset, Close])(after=dice.randrange(600_000))) for _ in range(4)]
    assert fetch(through)[0] == DATA


STREAM = "/collections/c/shards/0/snapshot"


def test_a_stream_has_no_length_and_gives_every_byte(qdrant, server):
    qdrant.on(f"GET {STREAM}", Reply(200, DATA, chunked=True))
    with server.stream_shard_snapshot("c", 0) as stream:
        assert stream.total_bytes is None
        chunks = list(stream)
    assert b"".join(chunks) == DATA
    assert len(chunks) < 20


@pytest.mark.parametrize("fault", [Reset(after=5000), Close(after=5000)])
def test_a_stream_that_breaks_is_not_resumed(qdrant, through, relay, fault):
    qdrant.on(f"GET {STREAM}", Reply(200, DATA, chunked=True))
    relay.rules.append(Rule(f"GET {STREAM}", fault))
    with through.stream_shard_snapshot("c", 0) as stream, pytest.raises(CollectionFailed, match="cannot be resumed"):
        for _ in stream:
            pass
    assert len(relay.seen) == 1


def test_a_stream_that_falls_silent_is_given_up(qdrant, relay, connect):
    qdrant.on(f"GET {STREAM}", Reply(200, DATA, chunked=True))
    relay.rules.append(Rule(f"GET {STREAM}", Stall(after=5000)))
    stream = connect(relay.url, silence_s=1.0).stream_shard_snapshot("c", 0)
    with stream, pytest.raises(CollectionFailed, match="silent for 1 s"):
        for _ in stream:
            pass


def test_a_stream_that_may_not_be_taken_names_the_right(qdrant, server):
    qdrant.on(f"GET {STREAM}", Reply.error(403, "Forbidden"))
    with pytest.raises(AccessDenied, match=r"snapshot \(rw"):
        server.stream_shard_snapshot("c", 0)


def test_a_web_page_in_a_files_place_is_not_qdrant(qdrant, server):
    qdrant.on(f"GET {PATH}", Reply.page(200))
    with pytest.raises(NotQdrant, match="web page"):
        fetch(server)


@pytest.mark.parametrize("fault", [Refuse(), Answer(503, b"busy"), Answer(429), DropReply()])
def test_a_download_that_is_turned_away_at_first_is_asked_for_again(qdrant, through, relay, fault):
    qdrant.on(f"GET {PATH}", ranged())
    relay.rules.append(Rule(GLOB, fault, times=2))
    got, _ = fetch(through)
    assert got == DATA


def test_a_download_that_is_always_turned_away_fails_in_the_end(qdrant, server, clock):
    qdrant.on(f"GET {PATH}", Reply.page(503))
    with pytest.raises(NotQdrant, match="503"):
        fetch(server)
    assert clock.sleeps == [0.5, 1, 2, 4]
