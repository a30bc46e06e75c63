"""Errors of the network get the line where the author wrote the address."""

from __future__ import annotations

from wherry.errors import TransferError
from wherry.lock.places import name_index, name_place
from wherry.model.declaration import IndexOptions

PLACES = (("https://one.example/simple/", "requirements.txt:1"), ("https://two.example/simple", "environment.yml:7"))


def test_the_index_that_does_not_answer() -> None:
    error = TransferError("Failed to fetch: https://two.example/simple/requests/", hint="the same command again, later")
    named = name_index(error, IndexOptions(places=PLACES))
    assert (named.where, named.what) == ("environment.yml:7", error.what)
    assert "check the address" in (named.hint or "")
    assert name_index(error, IndexOptions()) is error
    at = name_index(TransferError("refused", where="https://one.example/simple"), IndexOptions(places=PLACES))
    assert (at.where, at.what) == ("requirements.txt:1", "https://one.example/simple: refused")


def test_what_a_server_asks_for_is_not_lost_behind_the_place() -> None:
    refused = TransferError("the server answers 403", where="https://h.example/x", hint="a login or token in conda's configuration")
    assert name_place(refused, "environment.yml:3").hint == refused.hint
    assert "check the address" in (name_place(TransferError("it is away"), "environment.yml:3").hint or "")
