"""Laws of signatures: what a key verifies is what was signed, whatever happens to the bytes on their way."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.simulators.signing import make_pair
from wherry.errors import FormatError
from wherry.formats.cosign import parse_bundle, parse_payload, render_bundle, render_envelope, render_payload
from wherry.formats.dsse import Envelope, parse_envelope, sign_envelope
from wherry.formats.in_toto import IN_TOTO, parse_statement, render_statement
from wherry.model.digest import Digest

PAIR = make_pair()
KEY, IMAGE = PAIR.key, Digest.of(b"image")
STATEMENT = render_statement([("tiny", IMAGE)], "https://example.com/said", {"good": True})
ENVELOPE = render_envelope(STATEMENT, KEY)
BUNDLE = render_bundle(ENVELOPE, KEY)


def is_signed(envelope: Envelope) -> bool:
    return any(KEY.public.verifies(signature, envelope.signed) for signature in envelope.signatures)


@given(st.binary(max_size=200), st.text(max_size=30))
def test_what_was_signed_is_read_and_verified(payload: bytes, kind: str) -> None:
    read = parse_envelope(json.dumps(sign_envelope(payload, kind, KEY)).encode(), "here")
    assert (read.payload, read.payload_type) == (payload, kind)
    assert is_signed(read)


@given(st.data(), st.sampled_from([ENVELOPE, BUNDLE]))
def test_an_altered_document_is_refused_or_says_the_same(data: st.DataObject, document: bytes) -> None:
    place = data.draw(st.integers(0, len(document) - 1))
    end = data.draw(st.integers(place, min(len(document), place + 3)))
    altered = document[:place] + data.draw(st.binary(max_size=3)) + document[end:]
    try:
        read = parse_envelope(altered, "here") if document is ENVELOPE else parse_bundle(altered, "here")
    except FormatError:
        return
    assert not is_signed(read) or (read.payload, read.payload_type) == (STATEMENT, IN_TOTO)


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    for read in (parse_envelope, parse_bundle, parse_statement, parse_payload):
        try:
            read(noise, "here")
        except FormatError:
            continue
        raise AssertionError(read)


@given(st.binary(min_size=32, max_size=32), st.from_regex(r"[a-z0-9.:-]{1,30}/[a-z0-9/_-]{1,30}", fullmatch=True))
def test_a_payload_names_its_image(digest: bytes, repository: str) -> None:
    image = Digest(digest.hex())
    assert parse_payload(render_payload(repository, image), "here") == image
