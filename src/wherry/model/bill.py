"""What is in an image by name: the parts of a software bill of materials (SBOM)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wherry.model.digest import Digest
from wherry.model.platform import Platform


class BillForm(StrEnum):
    """SPDX 2.3 or CycloneDX 1.6, both in JSON."""

    SPDX = "spdx"
    CYCLONEDX = "cyclonedx"

    @property
    def media_type(self) -> str:
        """Also the type of the artifact that carries one in a registry."""
        return "application/spdx+json" if self is BillForm.SPDX else "application/vnd.cyclonedx+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A package of an image. `kind` is ``deb``, ``record``, ``wheel`` or ``python``; `purl` its package URL.

    `requires` are the `key`s of other components; Debian's packages have none, because a lock does not say theirs.
    """

    kind: str
    name: str
    version: str
    purl: str
    file: str
    size: int
    sha256: Digest
    requires: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """One word that is the component's own within a bill."""
        return f"{self.kind}-{self.sha256.hex[:20]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One platform's image of a lock. `digest` is over everything that decides the components, `creator` names the program."""

    name: str
    platform: Platform
    components: tuple[Component, ...]
    digest: Digest
    creator: str
    version: str
