"""The one HTTP layer. Everything that is true of every call stands here: what may be repeated, how an answer is read."""

from __future__ import annotations

import dataclasses
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from urllib3.exceptions import HTTPError

from qdrant_backup.errors import NotQdrant, QdrantBackupError
from qdrant_backup.qdrant.answers import GATEWAY, Answer, check_encoding, check_no_page, decode, decode_result, refusal
from qdrant_backup.qdrant.failures import Lost, could_not, of_transport
from qdrant_backup.qdrant.pull import Broken, pull
from qdrant_backup.qdrant.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from urllib3 import BaseHTTPResponse

    from qdrant_backup.clock import Clock
    from qdrant_backup.qdrant.calls import Call
    from qdrant_backup.qdrant.target import Target

__all__ = ["Http", "Patience"]

T = TypeVar("T")

_OK = range(200, 300)
_TOO_MANY = 429
_ERROR_BODY_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Patience:
    """How often and for how long a call that may be repeated is repeated.

    Attributes:
        attempts: in all, the first one included.
        budget_s: no repeat begins later than this after the first attempt.
        pause_s: before the first repeat; doubles each time.
        longest_pause_s: bounds the doubling, and what a server may ask for with Retry-After.
    """

    attempts: int = 5
    budget_s: float = 60.0
    pause_s: float = 0.5
    longest_pause_s: float = 30.0


class Http:
    """Speaks to one target. Safe to use from several threads.

    A call marked repeatable is repeated after a broken connection and after 429, 502, 503 and 504; any other call only
    after 429, which says that nothing was done. Silence is never answered with a repeat. The key is in no message.
    """

    def __init__(self, target: Target, *, clock: Clock, patience: Patience | None = None) -> None:
        target.check()
        self.target = target
        self.clock = clock
        self._patience = patience or Patience()
        self._wire = Wire(target)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._wire.close()

    def result(self, call: Call, type_: type[T]) -> T:
        """Make the call and give the `result` of Qdrant's envelope as `type_`."""
        return decode_result(self.answer(call), type_, call, self.target)

    def whole(self, call: Call, type_: type[T]) -> T:
        """Make the call and give its whole JSON body as `type_`, for the answers without an envelope."""
        answer = self.answer(call)
        return decode(answer.body, type_, answer, call, self.target)

    def answer(self, call: Call) -> Answer:
        """Make the call, read its answer whole, and raise the error for any status that is no success."""
        answer = self.any_answer(call)
        if answer.status not in _OK:
            raise refusal(answer, call, self.target)
        return answer

    def any_answer(self, call: Call) -> Answer:
        """Make the call and give the answer whatever its status, for probes."""
        outcome = self._patiently(call, lambda: self._once(call))
        if isinstance(outcome, Lost):
            raise outcome
        return outcome

    def open(self, call: Call) -> BaseHTTPResponse:
        """Make the call and give a successful answer with its body unread. The caller closes it."""
        return self._opened(self._patiently(call, lambda: self._open_once(call, {})), call)

    def reopen(self, call: Call, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """The same, with more headers and sent once: for a caller who repeats by itself."""
        return self._opened(self._open_once(call, headers), call)

    def send_body(self, call: Call, headers: Mapping[str, str], body: Iterable[bytes]) -> Answer:
        """Make a call with a streamed body, once. The headers give its length."""
        response = self._send(call, headers, body, single=True)
        return self._finish(response, call)

    def _once(self, call: Call) -> Answer | Lost:
        headers = {} if call.body is None else {"content-type": "application/json"}
        try:
            return self._finish(self._send(call, headers, call.body, single=not call.repeatable), call)
        except Lost as lost:
            return lost

    def _open_once(self, call: Call, headers: Mapping[str, str]) -> BaseHTTPResponse | Answer | Lost:
        try:
            response = self._send(call, headers, None, single=True)
            return response if response.status in _OK else self._finish(response, call)
        except Lost as lost:
            return lost

    def _opened(self, outcome: BaseHTTPResponse | Answer | Lost, call: Call) -> BaseHTTPResponse:
        if isinstance(outcome, Lost):
            raise outcome
        if isinstance(outcome, Answer):
            raise refusal(outcome, call, self.target)
        try:
            check_encoding(outcome.headers, call, self.target)
            check_no_page(outcome.headers, call, self.target)
        except QdrantBackupError:
            outcome.close()
            raise
        return outcome

    def _patiently(self, call: Call, once: Callable[[], T]) -> T:
        """What `once` gives, repeated while that does no harm and may help."""
        began = self.clock.monotonic()
        attempt = 1
        while True:
            outcome = once()
            wait_s = self._wait_s(outcome, call, attempt)
            if wait_s is None or self.clock.monotonic() + wait_s - began > self._patience.budget_s:
                return outcome
            self.clock.sleep(wait_s)
            attempt += 1

    def _wait_s(self, outcome: object, call: Call, attempt: int) -> float | None:
        """How long to wait before the call is repeated; None when it is not."""
        if attempt >= self._patience.attempts:
            return None
        if isinstance(outcome, Lost):
            return self._pause_s(attempt, None)
        if not isinstance(outcome, Answer):
            return None
        if outcome.status == _TOO_MANY or (call.repeatable and outcome.status in GATEWAY):
            return self._pause_s(attempt, outcome.headers.get("retry-after"))
        return None

    def _send(
        self, call: Call, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None, *, single: bool
    ) -> BaseHTTPResponse:
        try:
            return self._wire.send(
                call.method,
                call.path,
                headers,
                body=body,
                single=single,
                silence_s=call.patience_s(self.target.silence_s),
            )
        except HTTPError as error:
            raise of_transport(error, call, self.target) from None

    def _finish(self, response: BaseHTTPResponse, call: Call) -> Answer:
        failed = response.status not in _OK
        try:
            answer = self._read(response, call, _ERROR_BODY_BYTES if failed else call.limit_bytes, cut=failed)
        except BaseException:
            response.close()
            raise
        if call.repeatable and not failed:
            response.release_conn()
        else:
            response.close()
        return answer

    def _read(self, response: BaseHTTPResponse, call: Call, limit_bytes: int, *, cut: bool) -> Answer:
        """The answer with its body. An error's body may be `cut` at the limit; a result's may not be longer."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        if not cut:
            check_encoding(headers, call, self.target)
        body = bytearray()
        try:
            for piece in pull(response, self.clock, call.patience_s(self.target.silence_s)):
                body += piece
                if len(body) > limit_bytes:
                    break
        except Broken as error:
            if not cut:
                raise of_transport(error.cause, call, self.target) from None
        if len(body) > limit_bytes and not cut:
            why = f"bad response: longer than {limit_bytes} bytes"
            raise NotQdrant(could_not(call, self.target), why=why)
        return Answer(response.status, headers, bytes(body[:limit_bytes]))

    def _pause_s(self, attempt: int, retry_after: str | None) -> float:
        patience = self._patience
        pause_s = patience.pause_s * 2 ** (attempt - 1)
        return min(max(pause_s, self._asked_s(retry_after)), patience.longest_pause_s)

    def _asked_s(self, retry_after: str | None) -> float:
        if not retry_after:
            return 0.0
        if retry_after.strip().isdecimal():
            return float(retry_after.strip()[:6])
        try:
            moment = parsedate_to_datetime(retry_after)
        except (ValueError, TypeError):
            return 0.0
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return max(0.0, (aware - self.clock.now()).total_seconds())
