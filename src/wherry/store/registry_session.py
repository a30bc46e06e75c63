"""Talking to one registry: what is repeated, what is refused, and how a refusal is told.

A connection that failed, 408, 429 and 5xx are tried again, after the registry's own `Retry-After` or a doubling wait;
401 is answered once with a login. Everything else is final. Texts of the registry are shortened, stripped of control
characters and shown as its words, not ours.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from wherry.errors import TransferError, TrustError, WherryError
from wherry.formats.urls import place, same_origin
from wherry.store.http import PASSING, Body, Exchange, Response, discard, retry_after
from wherry.store.registry_auth import Authorizer, Credentials, TokenRefusedError
from wherry.store.registry_http import Interrupted, Transport, read_body

_ERROR_LIMIT = 1 << 16
_SHOWN = 300


class Refused(TransferError):
    """The registry said no. `status` is HTTP's, `code` OCI's (such as ``MANIFEST_UNKNOWN``) or empty.
    `wait` is in how many seconds the registry wants to be asked again; None: that would not help."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        status: int,
        code: str = "",
        wait: float | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status
        self.code = code
        self.wait = wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that can be made again. `body` gives the bytes anew for each attempt."""

    method: str
    url: str
    scopes: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Body] | None = None
    repeat: bool = True


class BytesRefused(TrustError):
    """The registry says that what it got does not match its digest."""


class Cancelled(TransferError):
    """Another part of the same push or pull failed first."""


class RegistrySession:
    """One registry, seen with one login. `stop`, once set, ends every wait and attempt."""

    def __init__(
        self,
        registry: str,
        repository: str,
        transport: Transport,
        credentials: Credentials,
        stop: threading.Event | None = None,
    ) -> None:
        self.registry = registry
        self.transport = transport
        self.base = transport.base_url(registry)
        self.stop = stop or threading.Event()
        self._authorizer = Authorizer(transport, lambda: credentials(registry, repository))

    def request(self, call: Call, expect: Collection[int]) -> Response:
        """Make the call until it gives one of the expected statuses. The caller reads or discards the answer."""
        return self.exchange(call, expect).response

    def exchange(self, call: Call, expect: Collection[int]) -> Exchange:
        """As `request`, with the URL that answered in the end."""
        patience = self.transport.patience
        wait = patience.first_wait
        for attempt in range(1, patience.attempts + 1):
            last = attempt == patience.attempts or not call.repeat
            self.check_stop()
            try:
                exchange = self._attempt(call)
            except Interrupted:
                if last:
                    raise
                pause = wait
            else:
                response = exchange.response
                if response.status in expect:
                    return exchange
                asked = retry_after(response)
                pause = wait if asked is None else asked
                if response.status not in PASSING or last or pause > patience.longest_wait:
                    raise self.refusal(call, exchange)
                discard(response)
            self.pause(pause)
            wait = min(wait * 2, patience.longest_wait)
        raise AssertionError("unreachable: the last attempt raises")

    def pause(self, seconds: float) -> None:
        """Wait at least so long, and up to twice that: those who were refused together do not come back together."""
        self.stop.wait(seconds * (1 + os.urandom(1)[0] / 255))
        self.check_stop()

    def check_stop(self) -> None:
        if self.stop.is_set():
            raise Cancelled("given up, because another part failed", where=self.registry)

    def refusal(self, call: Call, exchange: Exchange) -> WherryError:
        """The error for an answer that nobody expected."""
        response = exchange.response
        status = response.status
        code, words = _read_error(response, exchange.url)
        said = f": {words}" if words else ""
        where = place(exchange.url)
        if status == 401:
            return Refused(f"{self.registry} wants a login{said}", where=where, hint=self._login_hint(), status=status, code=code)
        if status == 403:
            hint = "ask who owns it for the right to push or pull there, or log in as somebody else"
            return Refused(f"{self.registry} does not allow this{said}", where=where, hint=hint, status=status, code=code)
        if status == 429:
            until = response.headers.get("Retry-After", "")
            hint = f"again in {until} s" if until.isdigit() else "again later, or log in for a higher limit"
            what = f"{self.registry} counts too many requests{said}"
            return Refused(what, where=where, hint=hint, status=status, code=code, wait=retry_after(response) or 0.0)
        if code == "DIGEST_INVALID":
            return BytesRefused(f"{self.registry} got other bytes than were announced{said}", where=where)
        what = f"{self.registry} answered {status} to {call.method}{said}"
        if status in PASSING:
            wait = retry_after(response) or 0.0
            return Refused(what, where=where, hint="again later", status=status, code=code, wait=wait)
        return Refused(what, where=where, status=status, code=code)

    def _attempt(self, call: Call) -> Exchange:
        for _ in range(3):
            try:
                own = self._authorizer.header(call.scopes) if same_origin(call.url, self.base) else {}
            except TokenRefusedError as error:
                raise self._explain_token(error) from None
            body = call.body() if call.body else None
            exchange = self.transport.exchange(call.method, call.url, {**call.headers, **own}, body)
            if exchange.response.status != 401 or not same_origin(exchange.url, self.base):
                return exchange
            try:
                again = self._authorizer.answer(exchange.response, exchange.url, call.scopes, own.get("Authorization"))
            except TokenRefusedError as error:
                discard(exchange.response)
                raise self._explain_token(error) from None
            if not again:
                return exchange
            discard(exchange.response)
        return exchange

    def _explain_token(self, error: TokenRefusedError) -> TransferError:
        if error.status in PASSING:
            return Interrupted(error.what, where=error.where)
        what = (
            f"{self.registry} does not accept the login" if self._authorizer.login.credential else f"{self.registry} wants a login"
        )
        return Refused(f"{what} ({error.what})", where=error.where, hint=self._login_hint(), status=401, code="UNAUTHORIZED")

    def _login_hint(self) -> str:
        notes = "".join(f"; {note}" for note in self._authorizer.login.notes)
        return f"docker login {self.registry}, or podman login {self.registry}{notes}"


def _read_error(response: Response, url: str) -> tuple[str, str]:
    """OCI's code and a sentence from an error's body; both empty when there is none."""
    try:
        body = read_body(response, _ERROR_LIMIT, url)
    except (TransferError, TrustError):
        return "", ""
    try:
        first = json.loads(body)["errors"][0]
        code, message = str(first.get("code", "")), str(first.get("message", ""))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        kind = response.headers.get("Content-Type", "")
        return "", "" if "html" in kind else show_text(body.decode("utf-8", "replace"))
    return show_text(code), show_text(f"{code}: {message}" if message else code)


def show_text(text: str) -> str:
    """A stranger's text, fit to be printed: one line, no control characters, not long."""
    clean = "".join(char if char.isprintable() else " " for char in text[: _SHOWN * 4])
    clean = " ".join(clean.split())
    return clean if len(clean) <= _SHOWN else f"{clean[:_SHOWN]}…"
