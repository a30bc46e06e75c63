"""OCI's documents: read with care, written canonically, and what is refused of a stranger's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.oci_json import (
    MAX_DOCUMENT,
    parse_any_manifest,
    parse_config,
    parse_index,
    parse_json,
    parse_manifest,
    render_config,
    render_index,
    render_json,
    render_manifest,
)
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    History,
)
from wherry.model.platform import Platform

A, B = Digest("a" * 64), Digest("b" * 64)
ARM = Platform("linux", "arm", "v7")
TEXTS = st.text(max_size=20).filter(lambda text: text.isprintable())
DIGESTS = st.binary(max_size=4).map(Digest.of)
DESCRIPTORS = st.builds(
    Descriptor,
    media_type=TEXTS.filter(bool),
    digest=DIGESTS,
    size=st.integers(0, 2**53),
    annotations=st.dictionaries(TEXTS, TEXTS, max_size=3),
    platform=st.sampled_from([None, Platform("linux", "amd64"), ARM]),
    artifact_type=st.none() | TEXTS.filter(bool),
)


@given(
    config=DESCRIPTORS,
    layers=st.lists(DESCRIPTORS, max_size=4),
    annotations=st.dictionaries(TEXTS, TEXTS),
    subject=st.none() | DESCRIPTORS,
)
def test_manifests_round_trip(
    config: Descriptor, layers: list[Descriptor], annotations: dict[str, str], subject: Descriptor | None
) -> None:
    raw = render_manifest(config=config, layers=layers, annotations=annotations, subject=subject)
    manifest = parse_manifest(raw)
    assert (manifest.config, manifest.layers, manifest.annotations, manifest.subject) == (
        config,
        tuple(layers),
        annotations,
        subject,
    )
    assert manifest.raw == raw
    assert manifest.digest == Digest.of(raw)


@given(manifests=st.lists(DESCRIPTORS, max_size=4), annotations=st.dictionaries(TEXTS, TEXTS))
def test_indexes_round_trip(manifests: list[Descriptor], annotations: dict[str, str]) -> None:
    index = parse_index(render_index(manifests, annotations))
    assert (index.manifests, index.annotations) == (tuple(manifests), annotations)


@given(
    created=TEXTS,
    diff_ids=st.lists(DIGESTS.map(lambda digest: DiffId(digest.hex)), max_size=4),
    history=st.lists(st.builds(History, created_by=TEXTS, comment=TEXTS, empty_layer=st.booleans()), max_size=4),
    words=st.lists(TEXTS, max_size=3),
    labels=st.dictionaries(TEXTS, TEXTS),
    places=st.sets(TEXTS, max_size=3),
    user=TEXTS,
)
def test_configs_round_trip(
    created: str,
    diff_ids: list[DiffId],
    history: list[History],
    words: list[str],
    labels: dict[str, str],
    places: set[str],
    user: str,
) -> None:
    raw = render_config(
        platform=ARM,
        created=created,
        diff_ids=diff_ids,
        history=history,
        entrypoint=words,
        cmd=words,
        env=words,
        user=user,
        workdir=user,
        labels=labels,
        volumes=sorted(places),
        ports=sorted(places),
    )
    config = parse_config(raw)
    assert (config.platform, config.created, config.user, config.workdir) == (ARM, created, user, user)
    assert (config.diff_ids, config.history) == (tuple(diff_ids), tuple(history))
    assert config.entrypoint == config.cmd == config.env == tuple(words)
    assert (config.labels, config.volumes, config.ports) == (labels, tuple(sorted(places)), tuple(sorted(places)))
    assert config.digest == Digest.of(raw)


def test_the_canonical_form() -> None:
    descriptor = Descriptor(media_type=CONFIG, digest=A, size=0)
    assert render_manifest(config=descriptor, layers=()) == (
        b'{"config":{"digest":"sha256:' + b"a" * 64 + b'","mediaType":"application/vnd.oci.image.config.v1+json","size":0},'
        b'"layers":[],"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )
    assert render_json({"b": "ü", "a": [1, True]}) == '{"a":[1,true],"b":"ü"}'.encode()


def docker_manifest(**more: Any) -> bytes:
    layer = {"mediaType": DOCKER_LAYER, "digest": str(B), "size": 2}
    config = {"mediaType": DOCKER_CONFIG, "digest": str(A), "size": 1}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer], **more}, indent=3
    ).encode()


def test_docker_s_documents_and_unknown_fields_keep_their_bytes() -> None:
    raw = docker_manifest(unknown={"x": 1})
    manifest = parse_manifest(raw)
    assert (manifest.media_type, manifest.raw) == (DOCKER_MANIFEST, raw)
    assert manifest.layers == (Descriptor(media_type=DOCKER_LAYER, digest=B, size=2),)
    listed = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": []}).encode()
    assert parse_index(listed).media_type == DOCKER_INDEX


def test_a_document_that_does_not_say_its_type() -> None:
    document = json.loads(docker_manifest())
    del document["mediaType"]
    raw = json.dumps(document).encode()
    assert parse_manifest(raw).media_type == MANIFEST
    assert parse_any_manifest(raw, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST


def test_platforms_as_others_write_them() -> None:
    config = json.loads(render_config(platform=Platform("linux", "arm64"), created="", diff_ids=()))
    config["variant"] = "v8"
    assert parse_config(json.dumps(config).encode()).platform == Platform("linux", "arm64")
    for os, architecture in (("windows", "amd64"), ("unknown", "unknown")):
        config |= {"os": os, "architecture": architecture, "variant": ""}
        assert parse_config(json.dumps(config).encode()).platform == Platform(os, architecture)


def test_configs_with_nulls() -> None:
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Entrypoint": None, "Labels": None, "Volumes": None, "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": None},
        "history": None,
    }
    parsed = parse_config(json.dumps(config).encode())
    assert (parsed.entrypoint, parsed.cmd, parsed.labels, parsed.history) == ((), ("sh",), {}, ())
    config["config"] = None
    assert parse_config(json.dumps(config).encode()).cmd == ()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "expected an object, got list"),
        (b'{"a":1,"a":2}', "stands there twice"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":' + b"[" * 200_000, "not valid JSON"),
        (b" " * (MAX_DOCUMENT + 1), "at most 4194304"),
        (rb'{"a":["x\uDC80"]}', "surrogates not allowed"),
    ],
    ids=range(8),
)
def test_what_is_not_json(raw: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=f"document: .*{message}"):
        parse_json(raw)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document: dict[str, Any] = json.loads(docker_manifest())
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(manifests=[]), "manifest: both a manifest and an index"),
        (lambda d: d.update(mediaType=INDEX), "manifest: media type"),
        (lambda d: d.update(mediaType=7), r"manifest\.mediaType: expected a string, got int"),
        (lambda d: d.update(schemaVersion=1), "manifest: schemaVersion 1"),
        (lambda d: d.pop("config"), "manifest: no 'config'"),
        (lambda d: d.update(layers={}), r"manifest\.layers: expected a list"),
        (lambda d: d["layers"].append(3), r"manifest\.layers\[1\]: expected an object"),
        (lambda d: d["layers"][0].update(size=-1), r"manifest\.layers\[0\]\.size: a size of -1"),
        (lambda d: d["layers"][0].update(size=True), r"manifest\.layers\[0\]\.size: expected a whole number"),
        (lambda d: d["layers"][0].update(size=1.5), r"manifest\.layers\[0\]\.size: expected a whole number"),
        (lambda d: d["layers"][0].update(digest="sha512:" + "0" * 128), r"manifest\.layers\[0\]\.digest: not a sha256"),
        (lambda d: d["layers"][0].update(digest="sha256:../../etc"), r"manifest\.layers\[0\]\.digest: not a sha256"),
        (lambda d: d["config"].update(annotations={"a": 1}), r"manifest\.config\.annotations\.a: expected a string"),
        (lambda d: d["config"].pop("mediaType"), r"manifest\.config: no 'mediaType'"),
    ],
)
def test_wrong_manifests_name_the_place(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_manifest(changed(change))


def test_a_type_from_outside_must_fit() -> None:
    with pytest.raises(FormatError, match="does not fit"):
        parse_any_manifest(docker_manifest(), MANIFEST)
    with pytest.raises(FormatError, match="an image index where"):
        parse_manifest(render_index(()))
    with pytest.raises(FormatError, match="an image manifest where"):
        parse_index(docker_manifest())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("rootfs"), "config: no 'rootfs'"),
        (lambda d: d.pop("os"), "config: no 'os'"),
        (lambda d: d["rootfs"].update(diff_ids=["x"]), r"config\.rootfs\.diff_ids\[0\]: not a sha256"),
        (lambda d: d.update(history=[[]]), r"config\.history\[0\]: expected an object"),
        (lambda d: d.update(config={"Env": "A=b"}), r"config\.config\.Env: expected a list"),
        (lambda d: d.update(config={"Cmd": [1]}), r"config\.config\.Cmd\[0\]: expected a string"),
    ],
)
def test_wrong_configs_name_the_place(change: Callable[[dict[str, Any]], object], message: str) -> None:
    document = json.loads(render_config(platform=ARM, created="", diff_ids=()))
    change(document)
    with pytest.raises(FormatError, match=message):
        parse_config(json.dumps(document).encode())


SCALARS = st.none() | st.booleans() | st.floats() | TEXTS
ANY_JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner))


@given(st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_strangers_bytes_give_a_value_or_a_format_error(raw: bytes) -> None:
    for parse in (parse_any_manifest, parse_config):
        try:
            parse(raw)
        except FormatError:
            continue


def test_layers_and_media_types_are_taken_as_written() -> None:
    layer = Descriptor(media_type=LAYER_GZIP, digest=A, size=1)
    assert parse_manifest(render_manifest(config=layer, layers=[layer])).layers == (layer,)


def test_whole_surrogate_pairs_are_text() -> None:
    assert parse_json(rb'{"a":"\ud83d\ude00"}') == {"a": "😀"}
