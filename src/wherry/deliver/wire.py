"""What a registry pull and an update by parcel move over the wire, estimated from what they fetch.

Documents and blobs are exact. What HTTP, TLS and TCP add is an estimate with the constants below; measured against docker
and podman it is right to a few kilobytes for small pulls, and does not matter for large ones. Not counted: names looked up,
a pull that breaks and starts again, and asking whether there is anything new. What a device moves for a parcel is known better,
as both ends are ours: `wherry.model.traffic`, to which the agent's ledger holds it on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

from wherry.model.traffic import HANDSHAKE_RECEIVED, HANDSHAKE_SENT, estimate_fetch

# The registry, its token service and the store to which it redirects for blobs.
CONNECTIONS = 3
# A TLS 1.3 handshake with a chain of two RSA certificates.
HANDSHAKE = 2_600
# Version check, token, HEAD of the tag, index, manifest, config.
FIXED_REQUESTS = 6
# The registry answers a blob with a redirect.
REQUESTS_PER_BLOB = 2
# Request and answer together: lines, bearer token, headers.
HEADERS = 1_500
# IPv4 and TCP headers, and the acknowledgements: 40 B on a segment of 1,460, and 40 B back for every second one.
PACKETS_PER_MILLE = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Bytes by what they are for. `overhead` is estimated, the rest exact."""

    index: int = 0
    manifest: int = 0
    config: int = 0
    blobs: int = 0
    blob_count: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        return self.index + self.manifest + self.config + self.blobs + self.overhead


def plan_pull(*, index: int, manifest: int, config: int, blobs: tuple[int, ...]) -> Pull:
    """The pull that fetches these documents and blobs, each given by its size in bytes."""
    requests = FIXED_REQUESTS + REQUESTS_PER_BLOB * len(blobs)
    plain = CONNECTIONS * HANDSHAKE + requests * HEADERS
    carried = plain + index + manifest + config + sum(blobs)
    return Pull(
        index=index,
        manifest=manifest,
        config=config,
        blobs=sum(blobs),
        blob_count=len(blobs),
        overhead=plain + -(-carried * PACKETS_PER_MILLE // 1000),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One device's update by bytes: `parcel` is exact, the rest is estimated. `socket` is what an agent's ledger shows."""

    parcel: int
    handshake: int
    http: int
    packets: int

    @property
    def socket(self) -> int:
        return self.parcel + self.handshake + self.http

    @property
    def total(self) -> int:
        """With the headers of packets: what a carrier counts."""
        return self.socket + self.packets


def plan_update(parcel: int, *, new_connection: bool = True) -> Update:
    """A device's poll that brings a parcel of so many bytes; 0 for a poll that brings nothing."""
    traffic = estimate_fetch(parcel, new_connection=new_connection)
    handshake = (HANDSHAKE_SENT + HANDSHAKE_RECEIVED) * new_connection
    return Update(
        parcel=parcel,
        handshake=handshake,
        http=traffic.socket_bytes - parcel - handshake,
        packets=traffic.wire_bytes - traffic.socket_bytes,
    )
