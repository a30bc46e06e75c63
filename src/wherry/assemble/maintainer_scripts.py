"""What the maintainer scripts of an image's Debian packages would have done, said in words: none of them runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from wherry.errors import StoreError
from wherry.formats.deb import open_deb
from wherry.formats.maintainer_script import HANDLED, INSTALLERS, list_effects, summarise_effects
from wherry.model.lock import LockedDeb


def describe_maintainer_scripts(debs: Sequence[tuple[LockedDeb, Path]]) -> Iterator[str]:
    """A sentence for each package whose scripts would do what its programs may need, with a way on."""
    for deb, path in debs:
        if deb.name in HANDLED:
            continue
        try:
            with path.open("rb") as stream:
                effects = list_effects(open_deb(stream, deb.file).scripts)
        except OSError as error:
            raise StoreError(f"cannot read: {error.strerror}", where=str(path)) from error
        if effects:
            what, remedy = summarise_effects(effects)
            remedy = INSTALLERS.get(deb.name, remedy)
            said = f"{deb.name} {deb.version}: its maintainer scripts are not run; they would: {what}"
            yield f"{said}; try: {remedy}" if remedy else said
