"""Cuts the deltas of layers against a base: what is in the base is named, what changed is told by the smallest means.

Plans first (which file from what), then writes the streams, packs them, decodes the result and holds it against the
diff_id before it is given away. Never larger than the layer itself as zstd. Deterministic for one version of the codecs,
whatever the number of threads. The base is a whole image's files: any of them may serve.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from wherry.deliver.encode_body import join_body, write_body
from wherry.deliver.encode_plan import plan_sources
from wherry.deliver.encode_sections import pack_full
from wherry.deliver.encode_target import Target
from wherry.deliver.matching import Matcher
from wherry.errors import TrustError
from wherry.formats.delta import Form, render_full_head
from wherry.formats.delta_decoder import decode_delta
from wherry.model.digest import DiffId
from wherry.model.progress import Progress, be_silent
from wherry.store.layer_tree import Tree
from wherry.store.spooled import SpooledFile

_ABREAST = 2  # layers that are cut at one time; their files share one pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer to cut. `chunks` gives its uncompressed tar; `name` is for who watches."""

    diff_id: DiffId
    chunks: Callable[[], Iterable[bytes]]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDelta:
    """A layer's body, proven by decoding it. `size` is that of the layer's tar. Close `body` after use."""

    diff_id: DiffId
    size: int
    form: Form
    body: SpooledFile


def encode_layers(
    layers: Sequence[Layer], base: Tree, progress: Progress = be_silent, *, threads: int | None = None
) -> tuple[LayerDelta, ...]:
    """The smallest body of each layer against a base, in the layers' order. All of them or, after an error, none."""
    workers, matcher = threads or os.cpu_count() or 1, _make_matcher(base)
    with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(min(_ABREAST, workers)) as abreast:
        jobs = [abreast.submit(_encode_layer, layer, base, matcher, progress, pool) for layer in layers]
        try:
            return tuple(job.result() for job in jobs)
        except BaseException:
            for job in jobs:
                job.cancel()
            _close_results(jobs)
            raise


def _close_results(jobs: Iterable[Future[LayerDelta]]) -> None:
    for job in jobs:
        with suppress(BaseException):
            job.result().body.close()


def encode_delta(tar: SpooledFile, base: Tree, progress: Progress = be_silent, *, threads: int | None = None) -> LayerDelta:
    """The smallest body of one layer, whose tar stays open."""
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        return _encode_tar(tar, "", base, _make_matcher(base), progress, pool)


def _make_matcher(base: Tree) -> Matcher:
    return Matcher(base.files, {path: file.digest for path, file in base.files.items()}, base.read_file)


def _encode_layer(layer: Layer, base: Tree, matcher: Matcher, progress: Progress, pool: ThreadPoolExecutor) -> LayerDelta:
    with SpooledFile(layer.chunks()) as tar:
        if tar.diff_id != layer.diff_id:
            raise TrustError(f"layer {layer.name or layer.diff_id} is {tar.diff_id}, its image says {layer.diff_id}")
        return _encode_tar(tar, layer.name, base, matcher, progress, pool)


def _encode_tar(
    tar: SpooledFile, name: str, base: Tree, matcher: Matcher, progress: Progress, pool: ThreadPoolExecutor
) -> LayerDelta:
    title = f"delta of {name}" if name else "delta"
    progress(title, 0, tar.size)
    target = Target(tar, name)
    best = _encode_files(target, base, matcher, pool) if base.files and target.readable else None
    try:
        packed = pack_full(tar, None if best is None else best.size)
        if packed is not None:
            form, made = Form.FULL, join_body(render_full_head(tar.size, packed.section.window_log), (packed,))
        if best is not None and (packed is None or best.size <= made.size):
            form, made, best = Form.DELTA, best, made if packed is not None else None
    finally:
        if best is not None:
            best.close()
    try:
        _prove(made, base, tar.diff_id)
    except BaseException:
        made.close()
        raise
    progress(title, tar.size, tar.size)
    return LayerDelta(diff_id=tar.diff_id, size=tar.size, form=form, body=made)


def _encode_files(target: Target, base: Tree, matcher: Matcher, pool: ThreadPoolExecutor) -> SpooledFile | None:
    """The smallest of the plans' bodies, if there is one."""
    best: SpooledFile | None = None
    for plan in plan_sources(target, base, matcher, pool):
        try:
            body = write_body(target, base, plan, pool)
        except BaseException:
            if best is not None:
                best.close()
            raise
        if body is None:
            continue
        if best is None or body.size < best.size:
            body, best = best, body
        if body is not None:
            body.close()
    return best


def _prove(body: SpooledFile, base: Tree, diff_id: DiffId) -> None:
    """Decode what was made. A failure is a fault of ours, or a base that changes meanwhile."""
    for _ in decode_delta(body.read, body.size, base, diff_id):
        pass
