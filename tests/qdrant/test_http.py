"""What is true of every call."""

from __future__ import annotations

import gzip
import json
import pickle

import pytest

from qdrant_backup.errors import (
    AccessDenied,
    CollectionMissing,
    ConnectionFailed,
    NotQdrant,
    OperationFailed,
    QdrantBackupError,
    RefusedForSafety,
    ServerRefused,
    UsageError,
)
from qdrant_backup.qdrant.calls import collection_path
from qdrant_backup.qdrant.server import Target, Unanswered
from qdrant_backup.secret import Secret
from support.relay import Answer, Close, DropReply, Header, Mute, Refuse, Relay, Reset, Rule, Stall
from support.scripted import Junk, Reply, Scripted

CANARY = "canary-7f3a-Zq9"
NAMES = Reply.result({"collections": [{"name": "b"}, {"name": "a"}]})


def whole(error: QdrantBackupError) -> str:
    """Everything an error could show anybody, its chain included."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        parts += [str(link), repr(link), repr(vars(link))]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return " ".join(parts)


def test_every_request_carries_the_key_and_asks_for_identity(qdrant, server):
    qdrant.on("GET /collections", NAMES)
    assert server.collections() == ("a", "b")
    headers = qdrant.requests[0].headers
    assert headers["api-key"] == CANARY
    assert headers["accept-encoding"] == "identity"


def test_a_path_prefix_is_kept(qdrant, connect):
    qdrant.on("GET /behind/proxy/collections", NAMES)
    assert connect(f"{qdrant.url}/behind/proxy/").collections() == ("a", "b")


def test_proxies_in_the_environment_are_not_used(qdrant, connect, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    qdrant.on("GET /collections", NAMES)
    assert connect(qdrant.url).collections() == ("a", "b")


@pytest.mark.fault("N11")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_other_host_sees_no_key(qdrant, server, status):
    other = Scripted()
    try:
        qdrant.on("GET /collections", Reply(status, b"", {"location": f"{other.url}/collections"}))
        with pytest.raises(NotQdrant, match=f"redirects to 127.0.0.1:{other.port}"):
            server.collections()
        assert other.requests == []
    finally:
        other.close()


def test_a_compressed_answer_is_refused_although_it_could_be_read(qdrant, server):
    body = gzip.compress(NAMES.body)
    qdrant.on("GET /collections", Reply(200, body, {"content-encoding": "gzip", "content-type": "application/json"}))
    with pytest.raises(OperationFailed, match=r"compressed \(gzip\)"):
        server.collections()


def test_a_web_page_is_named(qdrant, server):
    qdrant.on("GET /collections", Reply.page(200, "<!DOCTYPE html><title>Log in</title>"))
    with pytest.raises(NotQdrant, match="web page") as caught:
        server.collections()
    assert "6333" in caught.value.advice


@pytest.mark.parametrize("status", [404, 500])
def test_a_web_page_with_an_error_status_is_no_answer_of_qdrant(qdrant, server, status):
    qdrant.on("GET /collections", Reply.page(status))
    with pytest.raises(NotQdrant, match=f"web page answered, with HTTP {status}"):
        server.collections()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_that_cannot_reach_qdrant_is_named_after_repeats(qdrant, server, clock, status):
    qdrant.on("GET /collections", Reply.page(status))
    with pytest.raises(NotQdrant, match=f"proxy answered HTTP {status}"):
        server.collections()
    assert len(qdrant.requests) == 5
    assert clock.sleeps == [0.5, 1, 2, 4]


@pytest.mark.parametrize(
    "words",
    [
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x05\x00\x01\x00\x00\x00\x06\x00\x00\x40\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\r\n\r\n+OK ready\r\n",
    ],
    ids=["grpc", "ssh", "mail"],
)
def test_what_does_not_speak_http_is_named_with_the_rest_port(connect, words):
    junk = Junk(words)
    try:
        with pytest.raises(NotQdrant, match="gRPC port") as caught:
            connect(junk.url).identity()
        assert "6333" in caught.value.advice
    finally:
        junk.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"result": null}',
        b'{"result": {"collections": [{"name": 5}]}}',
        b'{"result": {"collections": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"result": {"collections": [], "x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}}",
        b'{"result": {"collections": NaN}}',
        b'{"result": {"collections": ' + b"9" * 10_000 + b"}}",
        b'{"result": {"collections": "\xff\xfe"}}',
    ],
    ids=["empty", "words", "list", "null", "type", "deep", "deep-unknown", "nan", "huge-number", "bytes"],
)
@pytest.mark.fault("Q19")
def test_wrong_json_is_a_bad_response(qdrant, server, body):
    qdrant.on("GET /collections", Reply(200, body, {"content-type": "application/json"}))
    with pytest.raises(NotQdrant, match="bad response"):
        server.collections()


@pytest.mark.fault("Q19")
def test_deep_json_in_a_part_that_is_kept_raw_is_a_bad_response(qdrant, server):
    body = b'{"result": {"status": "green", "config": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}}"
    qdrant.on("GET /collections/c", Reply(200, body))
    with pytest.raises(NotQdrant, match="bad response"):
        server.collection("c")


@pytest.mark.fault("Q19")
def test_an_answer_without_end_is_cut_off(qdrant, server):
    body = b'{"result": {"status": "' + b"x" * (9 * 1024 * 1024) + b'"}}'
    qdrant.on("GET /collections/c", Reply(200, body))
    with pytest.raises(NotQdrant, match="longer than"):
        server.collection("c")


def test_other_json_at_the_root_is_not_qdrant(qdrant, server):
    for body in (b'{"version": {"number": "8.1"}, "title": "x"}', b'{"title": "else", "version": "1"}', b"{}"):
        qdrant.on("GET /", Reply(200, body))
        with pytest.raises(NotQdrant):
            server.identity()


def test_401_with_and_without_a_key_is_told_apart(qdrant, server, connect):
    qdrant.on("GET /collections", Reply(401, b"Invalid API key or JWT"))
    with pytest.raises(AccessDenied, match=r"does not know this API key.*Invalid API key"):
        server.collections()
    with pytest.raises(AccessDenied, match="wants an API key, and none was given"):
        connect(qdrant.url, api_key=None).collections()


def test_403_names_the_right_and_what_was_attempted(qdrant, server):
    qdrant.on("GET /collections/c/snapshots", Reply.result([]))
    qdrant.on("POST /collections/c/snapshots", Reply.error(403, "Forbidden: Only manager access allowed"))
    with pytest.raises(AccessDenied) as caught:
        server.create_snapshot("c")
    assert "could not create a snapshot of 'c'" in str(caught.value)
    assert "snapshot (rw on this collection)" in str(caught.value)
    assert "Only manager access allowed" in str(caught.value)


def test_the_servers_own_words_are_shown_clean_and_bounded(qdrant, server):
    qdrant.on("GET /collections", Reply.error(500, "disk\x1b[31m full\x07\r\n\u202e" + "x" * 5000))
    with pytest.raises(ServerRefused) as caught:
        server.collections()
    assert caught.value.status == 500
    assert "disk[31m full x" in caught.value.why
    assert "\x1b" not in caught.value.why
    assert len(caught.value.why) < 600


def test_a_body_limit_is_named(qdrant, server):
    qdrant.on("PUT /collections/c", Reply.page(413))
    with pytest.raises(ServerRefused, match="proxy's body limit") as caught:
        server.create_collection("c", {})
    assert caught.value.status == 413
    assert "client_max_body_size" in caught.value.advice


def test_the_last_cause_of_a_long_message_is_shown(qdrant, server):
    chain = "failed to create snapshot: " * 30 + "IO Error: No space left on device (os error 28)"
    qdrant.on("GET /collections", Reply.error(500, chain))
    with pytest.raises(ServerRefused) as caught:
        server.collections()
    assert caught.value.why.startswith("HTTP 500: failed to create snapshot")
    assert caught.value.why.endswith("No space left on device (os error 28)")
    assert len(caught.value.why) < 600


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 413, 429, 500, 502, 503])
@pytest.mark.parametrize("form", ["json", "plain", "page", "split", "header"])
def test_the_key_is_in_no_message_even_when_the_server_echoes_it(qdrant, server, status, form):
    words = f"got key {CANARY} and {CANARY}"
    reply = {
        "json": Reply.error(status, words),
        "plain": Reply(status, words.encode()),
        "page": Reply.page(status, f"<html>{words}"),
        "split": Reply.error(status, f"{CANARY[:5]}\x1b{CANARY[5:]}"),
        "header": Reply(status, b"x", {"location": f"http://{CANARY}@{CANARY}/", "content-encoding": CANARY}),
    }[form]
    qdrant.on("GET /collections", reply)
    with pytest.raises(QdrantBackupError) as caught:
        server.collections()
    assert CANARY not in whole(caught.value)


def test_the_key_is_in_no_message_when_junk_echoes_it(connect):
    junk = Junk(f"{CANARY} {CANARY}\r\n".encode())
    try:
        with pytest.raises(NotQdrant) as caught:
            connect(junk.url).collections()
        assert CANARY not in whole(caught.value)
    finally:
        junk.close()


def test_a_secret_masks_itself_everywhere():
    secret = Secret(CANARY)
    target = Target.parse("http://localhost:1", api_key=secret)
    for text in (
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>9}",
        repr(target),
        str(vars(target)),
    ):
        assert CANARY not in text
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert bool(secret)
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("url", ["http://example.com:6333", "http://10.0.0.1:6333", "http://localhost.example.com"])
def test_a_key_over_plain_http_to_another_host_is_refused_before_anything_is_sent(connect, url):
    with pytest.raises(RefusedForSafety, match="not sent") as caught:
        connect(url)
    assert CANARY not in whole(caught.value)
    connect(url, allow_plain_http=True)
    connect(url, api_key=None)


@pytest.mark.parametrize("url", ["http://localhost:6333", "http://127.9.9.9:6333", "http://[::1]:6333", "https://h"])
def test_a_key_may_go_to_this_machine_or_over_tls(connect, url):
    connect(url)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:6333", "ftp://h", "http://", "http://h:abc", "http://h:99999", "http://h:0", "http://[::1",
     "http://h/?a=b", f"http://user:{CANARY}@h"],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_a_usage_error(url):
    with pytest.raises(UsageError) as caught:
        Target.parse(url)
    assert CANARY not in whole(caught.value)


@pytest.mark.parametrize("key", ["a\nb", " a", "ä"])
def test_a_key_that_is_no_header_is_a_usage_error_that_does_not_show_it(connect, key):
    with pytest.raises(UsageError) as caught:
        connect("http://localhost:1", api_key=Secret(key))
    assert repr(key) not in whole(caught.value)


def test_the_url_shows_brackets_and_default_ports():
    assert Target.parse("http://[::1]:5/x/").url == "http://[::1]:5/x"
    assert Target.parse("https://h").port == 443
    assert Target.parse("http://h").port == 80


def test_nothing_listening_names_the_services_and_is_not_repeated(connect, clock):
    junk = Junk(b"")
    junk.close()
    with pytest.raises(ConnectionFailed, match="refused") as caught:
        connect(junk.url).collections()
    assert "docker compose up -d" in caught.value.advice
    assert clock.sleeps == []


def test_an_unknown_host_is_named(connect):
    with pytest.raises(ConnectionFailed, match=r"host\.invalid"):
        connect("https://host.invalid:6333").collections()


def test_a_read_is_repeated_after_a_reset(qdrant, through, relay):
    qdrant.on("GET /collections", NAMES)
    relay.rules += [Rule("GET /collections", Refuse(), 2), Rule("GET /collections", Reset(after=5))]
    assert through.collections() == ("a", "b")


def test_a_json_answer_cut_short_is_repeated(qdrant, through, relay):
    qdrant.on("GET /collections", NAMES)
    relay.rules.append(Rule("GET /collections", Close(after=10)))
    assert through.collections() == ("a", "b")
    assert len(relay.seen) == 2


def test_a_read_that_always_breaks_fails_in_the_end(qdrant, through, relay):
    qdrant.on("GET /collections", NAMES)
    relay.rules.append(Rule("GET /collections", Reset(after=5), 5))
    with pytest.raises(ConnectionFailed, match="reset"):
        through.collections()


def test_silence_is_not_answered_with_a_repeat(qdrant, relay, connect):
    qdrant.on("GET /collections", NAMES)
    relay.rules.append(Rule("GET /collections", Stall(after=3)))
    with pytest.raises(ConnectionFailed, match=r"silent for 0\.3 s"):
        connect(relay.url, silence_s=0.3).collections()
    assert len(relay.seen) == 1


def test_the_first_look_at_a_server_is_no_more_patient_than_the_setting_says(qdrant, relay, connect):
    relay.rules.append(Rule("GET /", Mute()))
    with pytest.raises(ConnectionFailed, match="silent for 1 s"):
        connect(relay.url, silence_s=1.0).identity()


def test_retry_after_is_heeded(qdrant, server, clock):
    busy = Reply(429, b"slow down", {"retry-after": "7"})
    dated = Reply(503, b"", {"retry-after": "Tue, 03 Feb 2026 14:31:09 GMT"})
    qdrant.on("GET /collections", busy, dated, NAMES)
    assert server.collections() == ("a", "b")
    assert clock.sleeps == [7.0, 10.0]


def test_repeats_end_with_their_budget_of_time(qdrant, server, clock):
    qdrant.on("GET /collections", Reply(503, b"", {"retry-after": "999999999999"}))
    with pytest.raises(NotQdrant):
        server.collections()
    assert clock.sleeps == [30, 30]


LOSSES = [DropReply(), Reset(after=3), Close(after=3), Answer(502, b"bad gateway", deliver=True)]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.create_collection("c", {}),
        lambda s: s.update_collection("c", {}),
        lambda s: s.delete_collection("c"),
        lambda s: s.create_alias("a", "c"),
        lambda s: s.delete_alias("a"),
    ],
)
@pytest.mark.parametrize("fault", LOSSES)
def test_a_change_whose_answer_is_lost_is_not_repeated(qdrant, through, relay, change, fault):
    for method in ("PUT", "PATCH", "DELETE"):
        qdrant.on(f"{method} /collections/c", Reply.result(True))
    qdrant.on("POST /collections/aliases", Reply.result(True))
    relay.rules.append(Rule("*", fault))
    with pytest.raises(Unanswered):
        change(through)
    assert len(qdrant.requests) == 1


@pytest.mark.parametrize("fault", LOSSES)
def test_an_index_whose_answer_is_lost_is_asked_for_again(qdrant, through, relay, fault):
    qdrant.on("PUT /collections/c/index", Reply.result({"status": "completed"}))
    qdrant.on("DELETE /collections/c/index/f", Reply.result({"status": "completed"}))
    relay.rules.append(Rule("PUT *", fault, times=1))
    through.create_payload_index("c", "f", "keyword")
    relay.rules.append(Rule("DELETE *", fault, times=1))
    through.delete_payload_index("c", "f")
    asked = [one.method for one in qdrant.requests]
    assert asked == ["PUT", "PUT", "DELETE", "DELETE"]


def test_a_change_that_never_reached_the_server_is_no_lost_answer(connect):
    junk = Junk(b"")
    junk.close()
    with pytest.raises(ConnectionFailed) as caught:
        connect(junk.url).delete_collection("c")
    assert not isinstance(caught.value, Unanswered)


def test_a_change_that_was_turned_away_by_a_rate_limit_is_repeated(qdrant, server):
    qdrant.on("DELETE /collections/c", Reply(429, b""), Reply.result(True))
    assert server.delete_collection("c") is True


def test_a_lying_length_is_noticed(qdrant, through, relay):
    qdrant.on("GET /collections", NAMES)
    relay.rules.append(Rule("GET /collections", Header("content-length", "99999"), 5))
    with pytest.raises(ConnectionFailed, match="broke off"):
        through.collections()


@pytest.mark.parametrize(
    "name", ["plain", "mit Leerzeichen", "Übung", "50%", "a/b?c#d", "..", ".", "a%2Fb", "日本", "x" * 255, "\x1b[0m"]
)
def test_odd_names_make_the_round_trip(qdrant, server, name):
    info = {"status": "green", "points_count": 3, "config": {"params": {"x": 0.1}}, "payload_schema": {}}
    path = collection_path(name)
    assert path.count("/") == 2
    assert not {" ", "?", "#"} & set(path)
    assert "/." not in path
    qdrant.on(f"GET {path}", Reply.result(info))
    assert server.collection(name).config == {"params": {"x": 0.1}}


def test_a_missing_collection_is_missing(server):
    with pytest.raises(CollectionMissing, match="'nope'"):
        server.collection("nope")


def test_the_raw_config_is_kept_to_the_last_digit(qdrant, server):
    config = {"params": {"n": 18446744073709551615, "f": 0.30000000000000004, "new_key": [None, {"é": 1e-7}]}}
    qdrant.on("GET /collections/c", Reply.result({"status": "green", "points_count": None, "config": config}))
    assert json.dumps(server.collection("c").config) == json.dumps(config)


def test_the_relay_complains_about_a_fault_that_never_fired(qdrant):
    between = Relay(qdrant.port)
    between.rules.append(Rule("GET /never", Refuse()))
    between.close()
    with pytest.raises(AssertionError, match="never happened"):
        between.assert_all_fired()
