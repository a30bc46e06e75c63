"""The bench `build`: from a locked project to an image, next to buildah with pip, BuildKit with uv, and pyoci.

Every builder starts from the same base content, the same pinned wheels from one loopback index, and warm page caches.
Builders take turns, so that what else the machine does hits all alike. What each case and figure means stands in
docs/explanation/measurements.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.cases import measure_cases
from bench.harness import NotMeasured, Run, run_process, tell
from bench.huge import measure_huge_wheel
from bench.imports import measure_imports
from bench.project import change_line, change_model
from bench.results import Figure, Results, Target, figure, not_run, ratio
from bench.rivals.buildah import Buildah
from bench.rivals.buildkit import BuildKit
from bench.rivals.port import Builder, Weight
from bench.rivals.pyoci import PyOci
from bench.rivals.wherry import Wherry
from bench.workshop import Prepared, Variant, Workshop, open_workshop

CASES = ("cold", "no-change", "model-only", "one-line", "package-bump", "import", "huge-wheel", "help")
TITLES = {
    "cold": "numpy + scipy + pandas + scikit-learn; base given, lock given, caches empty",
    "no-change": "built again, nothing changed",
    "model-only": "a retrained model of 6 kB",
    "one-line": "one line of code changed",
    "package-bump": "scikit-learn moved to the next release",
    "import": "import pandas, sklearn on a read-only root",
    "huge-wheel": "a wheel of 2 GB, half of it random",
    "help": "wherry --help",
}
TARGETS = {
    "cold": (
        Target(metric="ratio_to_buildah", limit=4, at_least=True),
        Target(metric="ratio_to_buildkit_uv", limit=1.5, at_least=True),
        Target(metric="size_ratio_to_buildah", limit=0.62),
        Target(metric="size_ratio_nobytecode", limit=0.5),
    ),
    "no-change": (Target(metric="seconds", limit=0.15),),
    "model-only": (Target(metric="seconds", limit=0.15), Target(metric="ratio_to_buildah", limit=10, at_least=True)),
    "import": (Target(metric="ratio_to_venv", limit=1.3),),
    "huge-wheel": (Target(metric="peak_mb", limit=250),),
    "help": (Target(metric="seconds", limit=0.15),),
}
COLD_RUNS = 3
VARIANT_RUNS = 2  # of the settings that only the case cold has
BUMPS = 3
QUICK_RUNS = 15  # of wherry, where it takes a tenth of a second
RIVAL_RUNS = 5
MB = 1e6


@dataclass(slots=True)
class _Measured:
    """What the runs of one builder in one case gave, in the order they were taken."""

    runs: list[Run] = field(default_factory=list)
    exports: list[Run] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    weight: Weight | None = None

    @property
    def seconds(self) -> list[float]:
        return [run.seconds for run in self.runs]

    @property
    def complete(self) -> list[float]:
        """Seconds until there is an OCI layout; those of the build alone where it ends with one."""
        return [run.seconds + export.seconds for run, export in zip(self.runs, self.exports, strict=False)] or self.seconds

    def figures(self, case: str, subject: str) -> Iterator[Figure]:
        yield figure(case, subject, "seconds", self.seconds, "s")
        if self.exports:
            yield figure(case, subject, "export_seconds", [run.seconds for run in self.exports], "s")
            yield figure(case, subject, "seconds_with_export", self.complete, "s")
        if peaks := [run.peak / MB for run in [*self.runs, *self.exports] if run.peak]:
            yield figure(case, subject, "peak_mb", [max(peaks)], "MB")
        if self.weight is not None:
            yield figure(case, subject, "image_bytes", [self.weight.total], "bytes")
        if self.moved:
            yield figure(case, subject, "pull_bytes", self.moved, "bytes")


def run(work: Path, source: Path, results: Results, cases: tuple[str, ...]) -> None:
    """Measure the cases with the wherry of `source`, in the order of `CASES`; each is printed and kept as soon as it is done."""
    with open_workshop(work, source) as workshop, ExitStack() as stack:
        bench = _Bench(workshop, stack, cases) if set(cases) - {"help", "huge-wheel"} else None
        measure_cases("build", cases, TITLES, TARGETS, results, lambda case: _measure(case, workshop, bench))


def _measure(case: str, workshop: Workshop, bench: _Bench | None) -> Iterator[Figure]:
    if case == "help":
        runs = [run_process([workshop.wherry, "--help"]).seconds for _ in range(QUICK_RUNS)]
        yield figure(case, "wherry", "seconds", runs, "s")
    elif case == "huge-wheel":
        yield from measure_huge_wheel(case, workshop)
    elif bench is None:
        raise AssertionError("builders are opened for every other case")
    elif case == "import":
        yield from measure_imports(case, workshop, bench.built_wherry())
    else:
        yield from bench.measure(case)


class _Bench:
    """The builders that could be opened, and what keeps the others away."""

    def __init__(self, workshop: Workshop, stack: ExitStack, cases: Sequence[str]) -> None:
        self._missing: dict[str, str] = {}
        self._built: set[str] = set()
        default = workshop.prepare(Variant(name="default"), BUMPS + 1)
        self._wherry = Wherry("wherry", workshop, default)
        rivals: list[Builder] = [
            Buildah("buildah", workshop, default, "--no-cache-dir"),
            BuildKit("buildkit-uv", workshop, default),
            PyOci("pyoci", workshop, default),
        ]
        compared = set(cases) - {"import"}
        self._always = self._open([self._wherry, *(rivals if compared else ())], stack)
        self._cold = self._open(self._cold_builders(workshop, default), stack) if compared & {"cold", "package-bump"} else []

    @staticmethod
    def _cold_builders(workshop: Workshop, default: Prepared) -> list[Builder]:
        """Other settings of all, for where it makes a difference."""
        bare = workshop.prepare(Variant(name="nobytecode", settings='bytecode = "none"\n'), 1)
        zstd = workshop.prepare(Variant(name="zstd", settings='compression = "zstd"\n'), 1)
        return [
            Wherry("wherry-nobytecode", workshop, bare),
            Wherry("wherry-zstd", workshop, zstd),
            Wherry("wherry-own-base", workshop, default, own_base=True),
            # pip's own cache stays in the image, as where a Dockerfile says no more than `pip install`. pip caches what comes
            # over https or from a trusted host; the index here speaks http.
            Buildah("buildah-pip-cache", workshop, default, "--trusted-host", "127.0.0.1"),
            BuildKit("buildkit-uv-bytecode", workshop, default, "--compile-bytecode"),
        ]

    def _open(self, builders: Sequence[Builder], stack: ExitStack) -> list[Builder]:
        opened = []
        for builder in builders:
            try:
                stack.enter_context(builder.opened())
                opened.append(builder)
            except NotMeasured as error:
                tell(f"{builder.name}: not run: {error}")
                self._missing[builder.name] = str(error)
        return opened

    def built_wherry(self) -> Wherry:
        self._ensure_built(self._wherry)
        return self._wherry

    def measure(self, case: str) -> Iterator[Figure]:
        measured, failed = _MEASURES[case](self)
        for name, found in measured.items():
            if name not in failed:
                yield from found.figures(case, name)
        yield from _compare(case, {name: found for name, found in measured.items() if name not in failed})
        reasons = {**self._missing, **failed}
        shown = [builder.name for builder in self._of(case)] + list(self._missing)
        yield from (not_run(case, name, reasons[name]) for name in dict.fromkeys(shown) if name in reasons)

    def _of(self, case: str) -> list[Builder]:
        return [*self._always, *self._cold] if case in ("cold", "package-bump") else self._always

    def measure_cold(self) -> tuple[dict[str, _Measured], dict[str, str]]:
        def once(builder: Builder, _: int, found: _Measured) -> None:
            builder.empty()
            builder.set_version(0)
            change_line(builder.project, 0)
            change_model(builder.project, 0)
            found.runs.append(builder.build(memory=True))
            export = builder.export(memory=True)
            found.exports += [export] if export else []
            found.weight = builder.weigh()
            self._built.add(builder.name)

        return self._take_turns("cold", once, lambda builder: COLD_RUNS if builder in self._always else VARIANT_RUNS)

    def measure_change(self, case: str, change: Callable[[Path, int], None]) -> tuple[dict[str, _Measured], dict[str, str]]:
        """A small change, again and again; exported once at the end, as that takes long."""

        def once(builder: Builder, number: int, found: _Measured) -> None:
            if number == 0:
                self._ensure_built(builder)
                builder.build()  # unmeasured: what every tool looks at lies in the page cache
                builder.export()
                found.weight = builder.weigh()
            change(builder.project, number + 1)
            found.runs.append(builder.build())
            if len(found.runs) == _quick_runs(builder):
                export = builder.export()
                found.exports += [export] if export else []
                weight = builder.weigh()
                found.moved.append(weight.beyond(found.weight or weight))
                found.weight = weight

        return self._take_turns(case, once, _quick_runs)

    def measure_bump(self) -> tuple[dict[str, _Measured], dict[str, str]]:
        def once(builder: Builder, number: int, found: _Measured) -> None:
            if number == 0:
                self._ensure_built(builder)
                found.weight = builder.weigh()
            builder.set_version(number + 1)
            found.runs.append(builder.build())
            export = builder.export()
            found.exports += [export] if export else []
            weight = builder.weigh()
            found.moved.append(weight.beyond(found.weight or weight))
            found.weight = weight

        only = [builder for builder in self._of("package-bump") if not isinstance(builder, Wherry) or builder is self._wherry]
        only = [builder for builder in only if builder.name != "buildah-pip-cache"]
        return self._take_turns("package-bump", once, lambda _: BUMPS, only)

    def _ensure_built(self, builder: Builder) -> None:
        if builder.name in self._built:
            return
        builder.empty()
        builder.set_version(0)
        builder.build()
        builder.export()
        self._built.add(builder.name)

    def _take_turns(
        self,
        case: str,
        once: Callable[[Builder, int, _Measured], None],
        runs: Callable[[Builder], int],
        builders: Sequence[Builder] | None = None,
    ) -> tuple[dict[str, _Measured], dict[str, str]]:
        builders = self._of(case) if builders is None else builders
        measured: dict[str, _Measured] = defaultdict(_Measured)
        failed: dict[str, str] = {}
        for number in range(max((runs(builder) for builder in builders), default=0)):
            for builder in builders:
                if builder.name in failed or number >= runs(builder):
                    continue
                try:
                    once(builder, number, measured[builder.name])
                    tell(f"{case} {number + 1}: {builder.name} {measured[builder.name].seconds[-1]:.3f} s")
                except (NotMeasured, OSError, StopIteration) as error:
                    tell(f"{case}: {builder.name}: not run: {error}")
                    failed[builder.name] = str(error) or type(error).__name__
        return measured, failed


def _quick_runs(builder: Builder) -> int:
    return QUICK_RUNS if isinstance(builder, Wherry) else RIVAL_RUNS


_MEASURES: dict[str, Callable[[_Bench], tuple[dict[str, _Measured], dict[str, str]]]] = {
    "cold": lambda bench: bench.measure_cold(),
    "no-change": lambda bench: bench.measure_change("no-change", lambda _folder, _number: None),
    "model-only": lambda bench: bench.measure_change("model-only", change_model),
    "one-line": lambda bench: bench.measure_change("one-line", change_line),
    "package-bump": lambda bench: bench.measure_bump(),
}


def _compare(case: str, measured: dict[str, _Measured]) -> Iterator[Figure]:
    """How many times as long the rivals take, and how great wherry's image is next to buildah's.

    In the case `cold` a rival's export counts, as wherry's build ends with a layout; elsewhere it does not.
    """
    ours = measured.get("wherry")
    if ours is None:
        return
    for name, found in measured.items():
        if name.startswith("wherry"):
            continue
        metric = f"ratio_to_{name.replace('-', '_')}"
        yield ratio(case, metric, found.complete if case == "cold" else found.seconds, ours.seconds)
        if case == "cold" and found.exports:
            yield ratio(case, f"{metric}_without_export", found.seconds, ours.seconds)
    buildah = measured.get("buildah")
    if case != "cold" or buildah is None or buildah.weight is None:
        return
    subjects = {"wherry": "size_ratio_to_buildah", "wherry-nobytecode": "size_ratio_nobytecode", "wherry-zstd": "size_ratio_zstd"}
    for name, metric in subjects.items():
        weighed = measured.get(name)
        if weighed is not None and weighed.weight is not None:
            yield figure(case, "wherry", metric, [weighed.weight.total / buildah.weight.total], "ratio")
            plain = measured.get("buildah-pip-cache")
            if plain is not None and plain.weight is not None:
                yield figure(case, "wherry", f"{metric}_pip_cache", [weighed.weight.total / plain.weight.total], "ratio")
