"""What brought an image's bytes, as a picture: a patch for each cause. Geometry only, in the units of charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wherry.formats.treemap import lay_out
from wherry.store.causes import Cause
from wherry.ui.charts import HEIGHT, WIDTH

_LEAST = 0.006  # of the whole: what is smaller is drawn together
_LETTER, _LINE = 7.2, 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """`label` is as much of the name as fits in, maybe nothing; `roomy`: its size fits in beneath."""

    name: str
    size: int
    left: float
    top: float
    width: float
    height: float

    @property
    def label(self) -> str:
        letters = int((self.width - 6) / _LETTER)
        fits = letters >= min(4, len(self.name)) and self.height > _LINE
        return self.name if fits and len(self.name) <= letters else f"{self.name[: letters - 1]}…" if fits else ""

    @property
    def roomy(self) -> bool:
        return bool(self.label) and self.height > 2.4 * _LINE and self.width > 10 * _LETTER


def draw_patches(causes: Sequence[Cause]) -> list[Patch]:
    """Each cause with bytes of its own, the largest first."""
    sizes = sorted(_list_sizes(causes), key=lambda one: -one[1])
    whole = sum(size for _, size in sizes)
    large = [one for one in sizes if one[1] >= whole * _LEAST]
    small = [size for _, size in sizes[len(large) :]]
    shown = [*large, (f"{len(small)} smaller ones", sum(small))] if small else large
    boxes = lay_out([size for _, size in shown], WIDTH, HEIGHT)
    return [
        Patch(name=name, size=size, left=box.left, top=box.top, width=box.width, height=box.height)
        for (name, size), box in zip(shown, boxes, strict=True)
    ]


def _list_sizes(causes: Sequence[Cause]) -> Iterator[tuple[str, int]]:
    for cause in causes:
        if cause.size and not cause.counted_above:
            yield cause.name, cause.size
        yield from _list_sizes(cause.children)
