"""Where the author wrote the address that does not answer: errors of the network get the file and the line."""

from __future__ import annotations

from wherry.errors import TransferError
from wherry.model.declaration import IndexOptions

_AGAIN = "the same command again, later"
_HINT = f"check the address there; if it is right, {_AGAIN}"


def name_index(error: TransferError, indexes: IndexOptions) -> TransferError:
    """`error` with the place of the index that it speaks of; as it is where the author wrote none of its addresses."""
    said = f"{error.where or ''} {error.what}"
    for address, place in indexes.places:
        if address.rstrip("/") in said:
            return name_place(error, place)
    return error


def name_place(error: TransferError, place: str | None) -> TransferError:
    """`error` with a place, where there is one. What it says to do stays, if it is more than to wait."""
    if place is None:
        return error
    what = f"{error.where}: {error.what}" if error.where else error.what
    return TransferError(what, where=place, hint=_HINT if error.hint in (None, _AGAIN) else error.hint)
