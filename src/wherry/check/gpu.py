"""Judges what is there for GPUs: how much of an image that is, and whether CUDA is there more than once.

A GPU build on a device without a GPU is the commonest way to an image ten times as big as need be. Nothing is wrong with it where
there is a GPU, so that it is a note. CUDA's libraries of two major versions load side by side, and cost their size twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from wherry.check.python import Distribution, Site
from wherry.check.tree import Tree, is_file
from wherry.model.report import Finding, Severity

_MADE_FOR = re.compile(
    r"nvidia-.+|cupy-cuda\d+x?|jax-cuda\d+-.+|onnxruntime-gpu|tensorflow-gpu|triton|faiss-gpu.*|cuda-(?:bindings|toolkit)"
)
_LOCAL = re.compile(r".*\+cu\d+")
_MAJOR = re.compile(r"nvidia-(.+)-cu(\d\d)")
_WORTH = 50_000_000  # bytes that are worth a line


def judge_gpu(tree: Tree, sites: Sequence[Site]) -> Iterator[Finding]:
    """Findings about the distributions of `sites` that are for GPUs."""
    for site in sites:
        meant = {str(one): one for one in site.distributions if _is_for_gpus(one)}
        if not meant:
            continue
        yield from _judge_majors(site)
        size = 0
        for path, entry in tree.entries.items():
            if is_file(entry) and path.startswith(f"{site.folder}/"):
                size += entry.size if str(site.find_owner(path) or "") in meant else 0
        if size >= _WORTH:
            names = sorted(meant)
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            yield Finding(
                rule="gpu-packages",
                severity=Severity.NOTE,
                subject="GPU",
                what=f"{size / 1e6:,.0f} MB are for GPUs: {shown}",
                where=tuple(f"/{meant[name].folder}" for name in names),
                remedy="for devices without one, the builds for CPUs: torch from its own index, onnxruntime, xgboost-cpu",
            )


def _is_for_gpus(distribution: Distribution) -> bool:
    name = re.sub(r"[-_.]+", "-", distribution.name).lower()
    return _MADE_FOR.fullmatch(name) is not None or _LOCAL.fullmatch(distribution.version) is not None


def _judge_majors(site: Site) -> Iterator[Finding]:
    majors: dict[str, dict[str, Distribution]] = {}
    for one in site.distributions:
        found = _MAJOR.fullmatch(re.sub(r"[-_.]+", "-", one.name).lower())
        if found:
            majors.setdefault(found[1], {})[found[2]] = one
    for library, versions in sorted(majors.items()):
        if len(versions) > 1:
            yield Finding(
                rule="duplicate-cuda",
                severity=Severity.WARNING,
                subject=library,
                what=f"{library} of CUDA is there more than once: {', '.join(map(str, versions.values()))}",
                where=tuple(f"/{one.folder}" for one in versions.values()),
                remedy="packages that are built for one and the same major version of CUDA",
            )
