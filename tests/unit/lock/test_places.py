"""Errors of the network get the line where the author wrote the address."""

from __future__ import annotations

from wherry.errors import TransferError
from wherry.lock.places import name_index
from wherry.model.declaration import IndexOptions

PLACES = (("https://one.example/simple/", "requirements.txt:1"), ("https://two.example/simple", "environment.yml:7"))


def test_the_index_that_does_not_answer() -> None:
    error = TransferError("Failed to fetch: https://two.example/simple/requests/", hint="later")
    named = name_index(error, IndexOptions(places=PLACES))
    assert (named.where, named.what) == ("environment.yml:7", error.what)
    assert "check the address" in (named.hint or "")
    assert name_index(error, IndexOptions()) is error
    at = name_index(TransferError("refused", where="https://one.example/simple"), IndexOptions(places=PLACES))
    assert (at.where, at.what) == ("requirements.txt:1", "https://one.example/simple: refused")
