"""What the encoder makes is small, and decodes to the very tar."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from wherry.deliver import encode_body
from wherry.deliver.encoder import Layer, encode_delta, encode_layers
from wherry.formats.delta import Form, Limits
from wherry.formats.delta_decoder import decode_delta
from wherry.formats.tar import add_parents, file_entry, stream_tar
from wherry.store.layer_tree import Tree, layered_tree
from wherry.store.spooled import SpooledFile


def make_tar(files: Mapping[str, bytes]) -> bytes:
    return b"".join(stream_tar(add_parents(file_entry(path, data) for path, data in files.items())))


def make_base(*layers: bytes) -> Tree:
    return layered_tree((SpooledFile((layer,)) for layer in layers), "base")


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_an_equal_file_of_any_layer_is_named_not_sent() -> None:
    kept, other = noise(1, 50_000), noise(2, 50_000)
    target = make_tar({"app/renamed.bin": kept, "app/other.bin": other})
    with make_base(make_tar({"app/kept.bin": kept}), make_tar({"opt/other.bin": other})) as base, SpooledFile((target,)) as tar:
        delta = encode_delta(tar, base)
        with delta.body as body:
            assert (delta.form, body.size < 200) == (Form.DELTA, True)
            assert b"".join(decode_delta(body.read, body.size, base, delta.diff_id)) == target


def test_layers_are_cut_abreast_in_their_order() -> None:
    old = {f"lib/{number}.so": noise(number, 20_000) for number in range(6)}
    targets = [make_tar({path: data[:9_000] + b"!" + data[9_000:]}) for path, data in old.items()]
    seen: list[tuple[str, int, int]] = []
    with make_base(make_tar(old)) as base:
        layers = []
        for number, target in enumerate(targets):
            with SpooledFile((target,)) as tar:
                layers.append(Layer(diff_id=tar.diff_id, chunks=lambda target=target: (target,), name=f"layer {number}"))  # type: ignore[misc]
        deltas = encode_layers(layers, base, lambda *told: seen.append(told))
        for delta, target in zip(deltas, targets, strict=True):
            with delta.body as body:
                assert body.size < 250
                assert b"".join(decode_delta(body.read, body.size, base, delta.diff_id)) == target
    assert ("delta of layer 3", len(targets[3]), len(targets[3])) in seen


def test_what_a_reader_would_refuse_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {f"lib/{number}.py": b"import os\n" * number for number in range(1, 30)}
    with make_base(make_tar(old)) as base, SpooledFile((make_tar({**old, "lib/30.py": noise(1, 900)}),)) as tar:
        for limits in (Limits(), Limits(listed=20), Limits(entries=20), Limits(index_size=20)):
            monkeypatch.setattr(encode_body, "Limits", lambda limits=limits: limits)
            delta = encode_delta(tar, base)
            delta.body.close()
            assert delta.form is (Form.DELTA if limits == Limits() else Form.FULL)


def test_a_layer_with_nothing_in_common_is_sent_as_it_is() -> None:
    target = make_tar({"a": noise(3, 100_000)})
    with make_base(make_tar({"b": noise(4, 100_000)})) as base, SpooledFile((target,)) as tar:
        delta = encode_delta(tar, base)
        with delta.body as body:
            assert delta.form is Form.FULL or body.size < 100_400
            assert b"".join(decode_delta(body.read, body.size, base, delta.diff_id)) == target
