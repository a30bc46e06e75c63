"""Examines a tree by all rules and reports. Pure, but for what a tree of this machine reads when it is asked.

tree ─find_sites→ sites ─judge_*→ findings ─→ Report
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from wherry.check.contents import Contents, LayerContents, LayeredContents, LocalContents
from wherry.check.facts import Facts
from wherry.check.gpu import DeclaredGpu, judge_gpu
from wherry.check.hygiene import judge_config, judge_files, judge_hidden
from wherry.check.libraries import judge_damage, judge_libraries
from wherry.check.maintainer_scripts import judge_traces
from wherry.check.models import judge_models
from wherry.check.python import find_sites
from wherry.check.size import measure_sizes
from wherry.check.tree import LayeredTree, LocalTree, Tree, is_file
from wherry.check.truth import judge_lock, judge_shadows, judge_truth
from wherry.check.wheels import judge_environments, judge_wheels
from wherry.model.image import BuiltLayer
from wherry.model.lock import PlatformLock
from wherry.model.oci import ImageConfig
from wherry.model.platform import Platform
from wherry.model.report import Finding, Report, Seen, order_findings

_NAME = re.compile(r"[a-z]+")
_PACKAGE = re.compile(r"var/lib/dpkg/(?:status\.d/([^/]+?)(?:\.md5sums)?|info/([^/:]+)(?::\w+)?\.list)")


def examine_layers(
    layers: Sequence[Facts],
    subject: str,
    platform: Platform | None = None,
    config: ImageConfig | None = None,
    *,
    contents: Sequence[LayerContents] | None = None,
    locked: PlatformLock | None = None,
    measured: Sequence[BuiltLayer] | None = None,
    gpu: DeclaredGpu | None = None,
) -> Report:
    """The root of an image, out of its layers, with what its config says; with `contents`, of each layer, every file too.

    With `measured`, what its manifest says of the layers, the report has sizes; the lock tells which requirement brought what.
    """
    tree = LayeredTree(layers)
    env, workdir = (config.env, config.workdir) if config else ((), "")
    report = examine_tree(tree, subject, platform, env=env, workdir=workdir, gpu=gpu)
    more = [*judge_files(tree), *judge_traces(tree), *judge_hidden(tree, layers), *(judge_config(config) if config else ())]
    if contents is not None:
        sites = find_sites(tree)
        more += judge_truth(tree, LayeredContents(tree, zip(layers, contents, strict=True)), sites)
        more += judge_lock(sites, locked) if locked else ()
    if measured is not None:
        sizes = measure_sizes(tree, list(zip(layers, measured, strict=True)), find_sites(tree), locked)
        report = replace(report, sizes=sizes)
    return _add_findings(report, more)


def examine_unpacked(
    facts: Facts, subject: str, contents: Contents | None = None, *, measured: bool = False, gpu: DeclaredGpu | None = None
) -> Report:
    """The root of an image that lies in a folder; with `contents`, every file too."""
    tree = LayeredTree([facts])
    more = [*judge_files(tree), *judge_traces(tree), *(judge_truth(tree, contents, find_sites(tree)) if contents else ())]
    report = examine_tree(tree, subject, None, gpu=gpu)
    if measured:
        report = replace(report, sizes=measure_sizes(tree, [(facts, None)], find_sites(tree)))
    return _add_findings(report, more)


def examine_local(facts: Facts, subject: str, *, files: bool, measured: bool = False, gpu: DeclaredGpu | None = None) -> Report:
    """A folder of this machine; with `files`, every file is held against its RECORD."""
    tree = LocalTree(facts)
    report = examine_tree(tree, subject, None, gpu=gpu)
    if measured:
        report = replace(report, sizes=measure_sizes(tree, [(facts, None)], find_sites(tree)))
    if not files:
        return report
    return _add_findings(report, list(judge_truth(tree, LocalContents(tree.entries), find_sites(tree))))


def _add_findings(report: Report, more: Sequence[Finding]) -> Report:
    return replace(report, findings=order_findings([*report.findings, *more]))


def examine_tree(
    tree: Tree,
    subject: str,
    platform: Platform | None,
    *,
    env: Sequence[str] = (),
    workdir: str = "",
    gpu: DeclaredGpu | None = None,
) -> Report:
    """Whether a process would start and import: by all rules but those about what should not lie in an image.

    `env` are its variables (``NAME=value``), `workdir` is where it starts and imports from; `gpu` is what is known of the target.
    """
    variables = dict(text.partition("=")[::2] for text in env)
    folders = [path.strip("/") for path in (*variables.get("PYTHONPATH", "").split(":"), workdir)]
    sites = find_sites(tree, folders)
    library_path = variables.get("LD_LIBRARY_PATH", "").split(":")
    environments = [path.removesuffix("/pyvenv.cfg") for path in tree.entries if path.endswith("/pyvenv.cfg")]
    findings = [
        *judge_damage(tree),
        *judge_wheels(tree, sites),
        *judge_libraries(tree, sites, library_path),
        *judge_environments(sites, environments),
        *judge_models(tree, sites, folders),
        *judge_shadows(tree, sites, folders),
        *judge_gpu(tree, sites, gpu, variables),
    ]
    seen = Seen(
        files=sum(map(is_file, tree.entries.values())),
        libraries=sum(path in facts.elves for path, facts in tree.gather()),
        modules=sum(len(site.modules) for site in sites),
        distributions=sum(len(site.distributions) for site in sites),
    )
    return Report(
        subject=subject,
        platform=platform,
        findings=order_findings(findings),
        seen=seen,
        release=_read_release(tree),
        packages=tuple(sorted({found[1] or found[2] for path in tree.entries if (found := _PACKAGE.fullmatch(path))})),
    )


def _read_release(tree: Tree) -> str:
    """ID and VERSION_CODENAME of os-release (os-release(5)), where they are words: they become part of a mirror's addresses."""
    text = tree.read_text("etc/os-release") or tree.read_text("usr/lib/os-release") or ""
    fields = {name: value.strip("\"' ") for line in text.splitlines() for name, mark, value in (line.partition("="),) if mark}
    words = [fields.get("ID", ""), fields.get("VERSION_CODENAME", "")]
    return ":".join(words) if all(map(_NAME.fullmatch, words)) else ""
