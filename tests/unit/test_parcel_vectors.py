"""What version 1 wrote is read today as what it was, and what it was made of is written as it was."""

from __future__ import annotations

import pytest

from tests.vectors.parcel_vectors import FOLDER, make_body, make_releases, make_vectors
from wherry.formats.parcel import BaseDocuments, find_lacking, locate_bodies, parse_parcel, read_documents


@pytest.mark.parametrize("name", [name for name in make_vectors() if name.endswith(".json")])
def test_documents_and_dictionary_are_the_same(name: str) -> None:
    assert (FOLDER / name).read_bytes() == make_vectors()[name]


@pytest.mark.parametrize("name", ["release", "image", "itself", "full"])
def test_frozen_parcels_are_read(name: str) -> None:
    base, target = make_releases()
    data = (FOLDER / f"{name}.parcel").read_bytes()
    targets = base.metadata.targets if name in ("release", "itself") else None
    known = None if name == "full" else BaseDocuments(manifest=base.manifest, config=base.config, targets=targets)
    head = parse_parcel(lambda offset, size: data[offset : offset + size], len(data))
    documents = read_documents(lambda offset, size: data[offset : offset + size], head, known)
    assert documents == (base if name == "itself" else target)
    places = locate_bodies(head, documents.config, known.config if known else None)
    assert tuple(place.diff_id for place in places) == find_lacking(documents.config, known.config if known else None)
    bodies = [data[place.offset : place.offset + place.size] for place in places]
    assert bodies == [make_body(number) for number in range(len(places))]
    # Another zstd may pack otherwise, hardly larger.
    assert len(make_vectors()[f"{name}.parcel"]) <= len(data) + 16
