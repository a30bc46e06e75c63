"""Laws of a parcel's documents: whatever text they are, folding loses nothing of it."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.parcel_documents import fold_documents, unfold_documents

texts = st.one_of(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=40),
    st.text("0123456789abcdef", min_size=10, max_size=1200),
    st.datetimes().map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ")),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", fullmatch=True),
)
documents = st.lists(st.lists(texts, max_size=4).map("\n".join).map(str.encode), max_size=4)


@given(documents)
def test_unfolding_gives_the_documents(given: list[bytes]) -> None:
    assert list(unfold_documents(b"".join(fold_documents(given)), 1 << 20, "parcel")) == given


@given(st.binary(max_size=300))
def test_noise_is_refused_or_unfolded(noise: bytes) -> None:
    with contextlib.suppress(FormatError):
        list(unfold_documents(noise, 1 << 12, "parcel"))
