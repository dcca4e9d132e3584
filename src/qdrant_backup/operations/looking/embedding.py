"""Turns a question into a vector, by a command or a service of the user's own. Bounded in time and in size."""

from __future__ import annotations

import contextlib
import math
import shlex
import subprocess
import threading
from typing import TYPE_CHECKING, Any, cast

import msgspec

from qdrant_backup.clock import SystemClock
from qdrant_backup.errors import OperationFailed, QdrantBackupError, UsageError
from qdrant_backup.qdrant.calls import Call
from qdrant_backup.qdrant.http import Http, Patience
from qdrant_backup.qdrant.target import Target
from qdrant_backup.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["embedded_by_command", "embedded_by_url", "vector_in"]

MOST_BYTES = 8 << 20
LONGEST_S = 120.0
_NESTED = ("embedding", "embeddings", "data", "vector", "vectors")
_DEEPEST = 4
_LAST_WORDS = 300


def vector_in(answer: Any, source: str) -> list[float]:
    """The vector in an answer: an array of numbers, alone or as embedding services wrap it (`data[0].embedding`, ...).

    Raises:
        OperationFailed: there is none.
    """
    found = answer
    for _ in range(_DEEPEST):
        if isinstance(found, dict):
            fields = cast("dict[str, Any]", found)
            found = next((fields[name] for name in _NESTED if name in fields), None)
        elif isinstance(found, list) and found and isinstance(found[0], (list, dict)):
            found = cast("list[Any]", found)[0]
    numbers = cast("list[Any]", found) if isinstance(found, list) else []
    usable = [float(one) for one in numbers if isinstance(one, (int, float)) and not isinstance(one, bool)]
    if not usable or len(usable) != len(numbers) or not all(math.isfinite(one) for one in usable):
        raise OperationFailed(
            f"{source} gave no vector",
            why="its answer is neither a JSON array of finite numbers nor an object with one in `data[0].embedding`",
            advice="Try it by hand: it gets the text, and answers one array of numbers.",
        )
    return usable


def embedded_by_command(
    command: str, text: str, *, environment: Mapping[str, str] | None = None, longest_s: float = LONGEST_S
) -> list[float]:
    """What a command prints for a text on its standard input: a JSON array of numbers.

    Args:
        command: the program and its arguments, quoted as in a shell; no shell runs it.
        text: the question.
        environment: what it finds as its own; this process's when left out.
        longest_s: when it is killed.

    Raises:
        UsageError: the command cannot be read or run.
        OperationFailed: it failed, took too long, or printed no vector.
    """
    name = "the embedding command"
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{name} {command!r} cannot be read", why=str(error)) from None
    if not words:
        raise UsageError(f"{name} is empty")
    try:
        running = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
    except OSError as error:
        raise UsageError(
            f"{name} {command!r} cannot be run",
            why=error.strerror or str(error),
            advice="Check its path and its rights.",
        ) from None
    with running:
        out = _answered(running, text, f"{name} {command!r}", longest_s)
    return vector_in(_decoded(out, f"{name} {command!r}"), f"{name} {command!r}")


def _answered(running: subprocess.Popen[bytes], text: str, name: str, longest_s: float) -> bytes:
    """What it prints, at most `MOST_BYTES`; it has ended when this returns or raises."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        running.kill()

    complaints: list[bytes] = []
    threads = [
        threading.Thread(target=_told, args=(running, text.encode()), daemon=True),
        threading.Thread(target=_overheard, args=(running, complaints.append), daemon=True),
    ]
    timer = threading.Timer(longest_s, give_up)
    try:
        for thread in (timer, *threads):
            start(thread)
        out = running.stdout.read(MOST_BYTES + 1) if running.stdout else b""
        if len(out) <= MOST_BYTES:
            running.wait()
    except OSError as error:
        raise OperationFailed(f"{name} cannot be talked to", why=error.strerror or str(error)) from error
    finally:
        timer.cancel()
        if running.poll() is None:
            running.kill()
            running.wait()
    for thread in threads:
        thread.join(1.0)
    if late.is_set():
        raise OperationFailed(f"{name} did not end", why=f"it was killed after {longest_s:.0f} seconds", advice=_ADVICE)
    if len(out) > MOST_BYTES:
        raise OperationFailed(f"{name} prints too much", why=f"more than {MOST_BYTES} bytes", advice=_ADVICE)
    if running.returncode:
        said = b"".join(complaints).decode(errors="replace").strip()[-_LAST_WORDS:]
        raise OperationFailed(
            f"{name} failed",
            why=f"it ended with code {running.returncode}{f': {said}' if said else ''}",
            advice=_ADVICE,
        )
    return out


_ADVICE = "Try it by hand: it gets the text on standard input, and prints one JSON array of numbers."


def _told(running: subprocess.Popen[bytes], text: bytes) -> None:
    # A command that does not read its input may end before it is written.
    with contextlib.suppress(OSError, ValueError):
        if running.stdin:
            running.stdin.write(text)
            running.stdin.close()


def _overheard(running: subprocess.Popen[bytes], keep: Callable[[bytes], object]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while running.stderr and (piece := running.stderr.read1(1 << 16)):  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType,reportUnknownVariableType] - a buffered reader, which IO[bytes] does not say
            keep(cast("bytes", piece))


def _decoded(data: bytes, name: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise OperationFailed(f"{name} gave no vector", why=f"its answer is no JSON: {error}", advice=_ADVICE) from None


def embedded_by_url(url: str, text: str, *, model: str | None = None, longest_s: float = LONGEST_S) -> list[float]:
    """What an embedding service answers to `POST` of `{"input": text}`, as OpenAI's does.

    Args:
        url: the whole address of the endpoint.
        text: the question.
        model: goes along as `model` where the service wants one.
        longest_s: how long it may be silent.

    Raises:
        UsageError: the address makes no sense.
        OperationFailed: it failed, or answered no vector.
    """
    target = Target.parse(url)
    body: dict[str, Any] = {"input": text, **({"model": model} if model else {})}
    call = Call(
        "POST",
        "",
        "embed the question",
        "embed",
        msgspec.json.encode(body),
        limit_bytes=MOST_BYTES,
        silence_s=longest_s,
    )
    http = Http(target, clock=SystemClock(), patience=Patience(attempts=1))
    name = f"the embedding service {target.url}"
    try:
        answer = http.any_answer(call)
    except QdrantBackupError as error:
        raise OperationFailed(
            f"{name} did not answer", why=error.why or error.what, advice="Check --embed-url."
        ) from None
    finally:
        http.close()
    if answer.status != _OK:
        said = answer.body[:_LAST_WORDS].decode(errors="replace").strip()
        raise OperationFailed(f"{name} refused", why=f"HTTP {answer.status}: {said}", advice="Check --embed-url.")
    return vector_in(_decoded(answer.body, name), name)


_OK = 200
