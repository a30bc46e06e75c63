"""Who may talk to the page: one browser of one user of this machine, and nothing that runs in another page of it.

Rules, for each request, before anything else sees it:

- The `Host` is this machine's loopback by name: a foreign name that was made to lead here (DNS rebinding) is refused.
- All lies below a path that nobody can guess. Browsers send cookies to every port of a host, but only below the cookie's path: so
  another server on this machine never gets to see it.
- The token in the address that `wherry ui` prints is exchanged for a cookie with another secret, which no script can read and no
  foreign page can have sent. Secrets are compared in constant time.
- The address that a browser is started with stands in the list of processes, for all to read: its token counts once.
- What changes something is a POST whose `Origin` is this very page.

Answers forbid scripts and styles that are not ours, frames, and guessing of types; no browser keeps them.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wherry.ui.rendering import render_page

COOKIE = "wherry"
_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?")
_READING = ("GET", "HEAD")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _make_secret() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Those of one run of `wherry ui`. `place` is the path's first part, `once` a token that lets in once."""

    place: str = field(default_factory=_make_secret, repr=False)
    token: str = field(default_factory=_make_secret, repr=False)
    once: str = field(default_factory=_make_secret, repr=False)
    session: str = field(default_factory=_make_secret, repr=False)

    @property
    def base(self) -> str:
        return f"/{self.place}/"

    @property
    def entrance(self) -> str:
        """The path that lets any browser in."""
        return f"{self.base}?token={self.token}"

    @property
    def entrance_once(self) -> str:
        """The path that lets in whoever comes first."""
        return f"{self.base}?token={self.once}"


class Guard:
    """Stands before `app`, which lies below `known.base`."""

    def __init__(self, app: ASGIApp, known: Secrets) -> None:
        self._app = app
        self._known = known
        self._tokens = {known.token, known.once}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["type"] != "http":
            return  # nothing else is spoken here
        answer = self._judge(Request(scope))
        await (answer or self._app)(scope, receive, send_guarded)

    def _judge(self, request: Request) -> Response | None:
        """An answer in place of the page's own, or None for whoever may go on."""
        host = request.headers.get("host", "")
        if not _LOOPBACK.fullmatch(host):
            return _refuse(request, "this page answers to 127.0.0.1 and localhost alone")
        path = request.scope["path"]
        if not _are_equal(path.partition("/")[2].partition("/")[0], self._known.place):
            return _refuse(request, "there is nothing here")
        if request.method not in _READING and request.headers.get("origin") != f"http://{host}":
            return _refuse(request, "that did not come from this page")
        if path == self._known.base and "token" in request.query_params and request.method in _READING:
            return self._let_in(request)
        if not _are_equal(request.cookies.get(COOKIE, ""), self._known.session):
            return _refuse(request, "the address that `wherry ui` printed leads in; this one does not")
        return None

    def _let_in(self, request: Request) -> Response:
        """Not a redirect: one that began on a foreign page would come back without the cookie."""
        given = request.query_params["token"]
        if not any(_are_equal(given, token) for token in self._tokens):
            return _refuse(request, "the token is that of another run: `wherry ui` prints the one that counts")
        if request.method == "GET":
            self._tokens -= {self._known.once} & {given}
        answer = render_page(request, "enter.html")
        answer.set_cookie(COOKIE, self._known.session, path=self._known.base, httponly=True, samesite="strict")
        return answer


def _refuse(request: Request, what: str) -> Response:
    return render_page(request, "refused.html", status=403, what=what)


def _are_equal(given: str, known: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), known.encode())
