"""What a device asks of an engine beyond `Engine`: find a container again, look after it, read an image's files, free them.

Engines stay as they are: everything goes by their own command line and by reading the files that they keep. A container is
known by its name, and what it runs by a label with the image's ID, so that an agent that died half-way finds out what is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wherry.engines.port import Engine, EngineImage
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import Descriptor, Manifest

IMAGE_LABEL = "dev.wherry.image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that is there. `image` is the ID in its label; None for one that was not started by an agent."""

    running: bool
    image: Digest | None


class DeviceEngine(Engine, Protocol):
    """An engine on a device. Whatever fails is an `EngineError`; what is gone already need not be removed."""

    def held_layers_as(
        self, image: EngineImage, known: Sequence[Manifest], sizes: Mapping[DiffId, int]
    ) -> Mapping[DiffId, Descriptor]:
        """The image's layers that an archive may leave out, as the archive's manifest has to call them.

        `known` are manifests by which the engine may have taken the image, `sizes` those of the layers' tars.
        """
        ...

    def layer_folders(self, image: EngineImage) -> tuple[Path, ...]:
        """The unpacked layers, the topmost first, where the engine keeps them so and we may read them."""
        ...

    def save(self, image: EngineImage) -> Iterator[bytes]:
        """The image as an archive that holds the tar of each layer."""
        ...

    def find_container(self, name: str) -> Container | None: ...

    def execute(self, name: str, command: Sequence[str], patience: float) -> int:
        """Run a command in a running container; its exit code. No end within `patience` seconds is an `EngineError`."""
        ...

    def read_log(self, name: str) -> bytes:
        """The end of what the container has printed."""
        ...

    def discard(self, name: str, grace: float) -> None:
        """Stop a container and forget it."""
        ...

    def remove_image(self, image: EngineImage) -> None:
        """Forget the image under its name, and with it what no other image needs."""
        ...
