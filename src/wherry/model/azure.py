"""Where a sweep's tasks run on Azure Batch, as a value: an account, its machines, and the image that they pull.

No credential is ever in it: `registry_password` is the name of a variable, `registry_identity` a managed identity's resource ID.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Azure's own names from version 3 on: family, processors, those of them that are switched on, features, version.
_SIZE = re.compile(r"standard_[a-z]+(\d+)(?:-(\d+))?[a-z]*(?:_[a-z0-9]+)*_v(?:[3-9]|\d\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AzurePool:
    """`account` is the address of the Batch account, `image` the reference that the project's image is pushed to.

    `vm_image` is ``PUBLISHER:OFFER:SKU``; None: one of those that run containers. `start_task` are commands of the nodes' own
    shell, which install docker where the image has none; then tasks are started by `docker run`.
    """

    account: str
    vm_size: str
    image: str
    nodes: int = 1
    spot_nodes: int = 0
    vm_image: str | None = None
    start_task: tuple[str, ...] = ()
    registry_user: str | None = None
    registry_password: str | None = None
    registry_identity: str | None = None
    subnet: str | None = None
    price: float | None = None

    @property
    def most(self) -> int:
        """Nodes, of both kinds."""
        return self.nodes + self.spot_nodes

    @property
    def cores(self) -> int | None:
        """Processors of a node, where its size tells them."""
        found = _SIZE.fullmatch(self.vm_size)
        return int(found[2] or found[1]) if found else None
