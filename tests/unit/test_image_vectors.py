"""What earlier versions of wherry wrote is written to the byte and read today."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from tests.vectors.image_vectors import FOLDER, make_vectors
from wherry.formats.lockfile import parse_lock, render_lock
from wherry.formats.oci_json import parse_config, parse_index, parse_manifest
from wherry.formats.untar import read_members
from wherry.model.digest import Digest


@pytest.mark.parametrize("name", ["wherry.lock", "layer.tar", "config.json", "manifest.json", "index.json"])
def test_the_same_bytes_are_written(name: str) -> None:
    assert (FOLDER / name).read_bytes() == make_vectors()[name]


def test_the_frozen_lock_is_read() -> None:
    text = (FOLDER / "wherry.lock").read_text()
    assert render_lock(parse_lock(text)) == text


def test_the_frozen_documents_lead_to_one_another() -> None:
    raw = {name: (FOLDER / name).read_bytes() for name in ("index.json", "manifest.json", "config.json", "layer.tar")}
    named = parse_index(raw["index.json"]).manifests[0]
    manifest = parse_manifest(raw["manifest.json"])
    config = parse_config(raw["config.json"])
    assert named.digest == Digest.of(raw["manifest.json"])
    assert manifest.config.digest == Digest.of(raw["config.json"])
    assert manifest.layers[0].digest == Digest.of(raw["layer.tar"])
    assert config.diff_ids[0].hex == hashlib.sha256(raw["layer.tar"]).hexdigest()


def test_another_reader_sees_what_ours_sees() -> None:
    data = (FOLDER / "layer.tar").read_bytes()
    ours = {member.path: (member.mode, member.link, b"".join(member.content)) for member in read_members([data], "layer.tar")}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        theirs = {
            info.name: (
                info.mode,
                info.linkname,
                (file.read() if (file := archive.extractfile(info)) else b"") if info.isreg() else b"",
            )
            for info in archive
        }
    assert ours == theirs
    assert "app/größe.txt" in ours
