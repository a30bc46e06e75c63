"""How a device asks for its parcel: one conditional GET a poll, a download that goes on where it was cut, no byte too many.

The first request asks for the first 16 KiB only and names what is known: a 304 says that there is nothing new, a small parcel is
there at once, and of a large one the length is known before it is begun, so that a budget can say no. The rest is one range on the
same connection, with If-Range. 403, 404 and 410 mean that there is no parcel from this base. Nothing is believed: neither lengths
(what a server says has to agree with itself and with what it said before, and ends where it was to end), nor that a part is of
the same content (its validator has to be the same; where there is none, the end of what is here has to come again), nor ranges
(where a server ignores them, what is here is compared, not kept twice). Cuts, stalls, 408, 429 and 5xx are tried again a few
times, as long as that brings something; where nothing came, smaller parts are asked for: of a record of TLS that was cut, nothing
can be kept.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from wherry.agent.exchange import Answer, Exchanges, Interrupted, Patience, check_address
from wherry.agent.metered_socket import Account, Tls
from wherry.agent.partial_file import BLOCK, Content, PartialFile
from wherry.errors import TransferError
from wherry.formats.urls import place
from wherry.model.traffic import FIRST_PART, estimate_rest

SMALLEST = 4 << 10  # bytes of the smallest part asked for
OVERLAP = 256  # bytes that have to come again where there is no validator
MAX_VALIDATOR = 200
_MISSING = frozenset({403, 404, 410})  # 403: object stores that do not show what they have
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_PART = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_LONGEST_RETRY_AFTER = 3600.0
_PATIENCE = Patience()


class Budget(Account, Protocol):
    """The account of a session: it is asked before a download is begun."""

    def ensure_room(self, more: int) -> None:
        """Raise unless so many more bytes, headers of packets included, may be moved."""
        ...


class News(Enum):
    """What a poll brought."""

    UNCHANGED = "nothing new"
    MISSING = "no parcel from this base"
    COMPLETE = "a parcel, complete in the partial file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """`validator` is what the next poll names as known."""

    news: News
    validator: str = ""


class Link:
    """One session with one channel; a context manager. `tls` outlives it and makes later handshakes short."""

    def __init__(
        self,
        channel: str,
        account: Budget,
        tls: Tls,
        *,
        patience: Patience = _PATIENCE,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        check_address(channel)
        self._channel, self._account, self._patience, self._pause = channel.rstrip("/"), account, patience, pause
        self._exchanges = Exchanges(account, tls, patience)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *error: object) -> None:
        self._exchanges.close(abort=error[0] is not None)

    def fetch(self, name: str, partial: PartialFile, *, known: str = "", limit: int) -> Poll:
        """Bring the parcel `name` (`locate_parcel`) into the partial file, unless `known` is its validator; at most `limit` bytes.

        What a former call left in the file is gone on with. Raises `TransferError` when it cannot be had now (what came is kept),
        `TrustError` for a server that is not the one, and what the account raises.
        """
        address = f"{self._channel}/{name}"
        if partial.content is not None and partial.content.address != address:
            partial.discard()
        failures, reach, best = 0, limit, partial.done
        while not partial.complete:
            try:
                found = self._fetch_once(address, partial, known, limit, reach)
                if found is not None:
                    return found
                partial.settle()
                reach = min(2 * reach, limit)
            except Interrupted as problem:
                self._exchanges.close(abort=True)
                partial.settle()
                failures, reach = (1, reach) if partial.done > best else (failures + 1, SMALLEST)
                best = max(best, partial.done)  # what had to be begun anew does not count as getting on
                if failures >= self._patience.attempts:
                    hint = "later: what has come is kept" if partial.done else "later"
                    raise TransferError(f"{problem.what}, {failures} times in a row", where=place(address), hint=hint) from None
                self._pause(max(problem.wait, min(self._patience.first_wait * 4 ** (failures - 1), self._patience.longest_wait)))
            except BaseException:
                self._exchanges.close(abort=True)
                partial.settle()
                raise
        return Poll(news=News.COMPLETE, validator=partial.content.validator if partial.content else "")

    def _fetch_once(self, address: str, partial: PartialFile, known: str, limit: int, reach: int) -> Poll | None:
        """One request for at most `reach` bytes and what it brings; None when more is to come."""
        start = _resume_at(partial)
        answer = self._exchanges.get(address, _conditions(partial, start, known, reach))
        if answer.status in _MISSING or (answer.status == 304 and known and not partial.done):
            self._exchanges.finish(answer)
            if answer.status == 304:
                return Poll(news=News.UNCHANGED, validator=known)
            partial.discard()
            return Poll(news=News.MISSING)
        if answer.status == 206:
            self._take_part(answer, address, partial, start, limit)
        elif answer.status == 200:
            self._take_whole(answer, address, partial, limit)
        else:
            self._refuse(answer, partial)
        self._exchanges.finish(answer)
        return None

    def _take_part(self, answer: Answer, address: str, partial: PartialFile, start: int, limit: int) -> None:
        found = _PART.fullmatch(answer.header("Content-Range"))
        first, last, size = (int(number) for number in found.groups()) if found else (-1, -1, -1)
        if first != start or not first <= last < size or answer.length not in (None, last + 1 - first):
            raise self._contradiction(partial, answer)
        content = _describe(answer, address, size, limit)
        if partial.content is None:
            if last >= FIRST_PART:
                raise self._contradiction(partial, answer)
            self._account.ensure_room(0)
            partial.begin(content)
        elif not _is_same(partial.content, content):
            raise self._contradiction(partial, answer)
        else:
            self._account.ensure_room(estimate_rest(last + 1 - first))
        self._compare(answer, partial, start)
        _receive(answer, partial, last + 1)
        if not partial.complete:
            self._account.ensure_room(estimate_rest(size - partial.done))

    def _take_whole(self, answer: Answer, address: str, partial: PartialFile, limit: int) -> None:
        if answer.length is None:
            raise TransferError("the server does not say how long the parcel is", where=place(address))
        content = _describe(answer, address, answer.length, limit)
        self._account.ensure_room(estimate_rest(content.size))
        if partial.content is None or not _is_same(partial.content, content):
            partial.begin(content)
        self._compare(answer, partial, 0)
        _receive(answer, partial, content.size)

    def _refuse(self, answer: Answer, partial: PartialFile) -> None:
        where = place(answer.url)
        if answer.status in _PASSING:
            text = answer.header("Retry-After")
            wait = min(float(text), _LONGEST_RETRY_AFTER) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
            raise Interrupted(f"the server answers {answer.status}", where=where, wait=wait)
        if answer.status in (304, 412, 416) and partial.content is not None:
            raise self._contradiction(partial, answer)
        raise TransferError(f"the server answers {answer.status}", where=where)

    def _compare(self, answer: Answer, partial: PartialFile, offset: int) -> None:
        """Read what is here already, and see that it is the same."""
        while offset < partial.done:
            data = answer.read(min(BLOCK, partial.done - offset))
            if partial.read(offset, len(data)) != data:
                raise self._contradiction(partial, answer)
            offset += len(data)

    @staticmethod
    def _contradiction(partial: PartialFile, answer: Answer) -> Interrupted:
        """The server has something else than it had, or says what cannot be: begin anew."""
        partial.discard()
        return Interrupted("the server contradicts itself, or the parcel has changed", where=place(answer.url))


def _resume_at(partial: PartialFile) -> int:
    """From where to ask. Without a validator the end of what is here is asked for again, to see that it is the same."""
    if partial.content is None or partial.content.validator:
        return partial.done
    return max(0, partial.done - OVERLAP)


def _conditions(partial: PartialFile, start: int, known: str, reach: int) -> dict[str, str]:
    if partial.content is not None and partial.done:
        validator = partial.content.validator
        end = str(partial.done + reach - 1) if partial.done + reach < partial.content.size else ""
        return {"Range": f"bytes={start}-{end}"} | ({"If-Range": validator} if validator else {})
    wanted = {"Range": f"bytes=0-{min(FIRST_PART, reach) - 1}"}
    if known:
        wanted["If-None-Match" if known.endswith('"') else "If-Modified-Since"] = known
    return wanted


def _describe(answer: Answer, address: str, size: int, limit: int) -> Content:
    where = place(address)
    if answer.header("Content-Encoding") not in ("", "identity"):
        raise TransferError("the server compresses what it was not asked to compress", where=where)
    if size > limit:
        raise TransferError(f"the parcel is said to have {size} bytes; {limit} are allowed", where=where)
    if size == 0:
        raise TransferError("the parcel is empty", where=where)
    return Content(address=address, validator=_validator(answer), size=size)


def _validator(answer: Answer) -> str:
    """What a later request can name: a strong ETag, else the date of the last change, else nothing."""
    etag, changed = answer.header("ETag"), answer.header("Last-Modified")
    for text in (etag if etag.startswith('"') else "", changed):
        if text and len(text) <= MAX_VALIDATOR and text.isascii() and text.isprintable():
            return text
    return ""


def _is_same(former: Content, now: Content) -> bool:
    """A part may come without a validator; what it says must agree."""
    return former.size == now.size and now.validator in ("", former.validator)


def _receive(answer: Answer, partial: PartialFile, end: int) -> None:
    while partial.arrived < end:
        partial.write(answer.read(min(BLOCK, end - partial.arrived)))
