"""What bytes at a socket become on a metered link: packets with headers, which is what a carrier counts.

The figures were measured with `tests/simulators` (a TLS server on loopback, a cable in a network namespace) and are held to them
by tests. Estimated are TLS 1.3 with two certificates and two session tickets, and a server with usual headers; a longer chain or
a chatty server costs more. Not counted: looking up names, packets that are lost and sent again.
"""

from __future__ import annotations

from dataclasses import dataclass

# IPv4 and TCP with the time stamp option, and what then fits into a packet of 1,500 bytes.
PACKET_HEADERS = 52
SEGMENT = 1448
# A request and an answer without its body; what TLS adds to each 16 KiB.
REQUEST, ANSWER = 250, 350
RECORD, RECORD_HEADERS = 16 << 10, 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What connections moved: bytes at the socket, packets, and the bytes of headers that each packet has."""

    sent: int = 0
    received: int = 0
    packets_out: int = 0
    packets_in: int = 0
    headers: int = PACKET_HEADERS

    @property
    def socket_bytes(self) -> int:
        """Both ways, TLS included."""
        return self.sent + self.received

    @property
    def wire_bytes(self) -> int:
        """With the headers of all packets: what is billed, before a tariff rounds it."""
        return self.socket_bytes + self.headers * (self.packets_out + self.packets_in)


def estimate_packets(sent: int, received: int) -> tuple[int, int]:
    """The packets of one connection, out and in: its beginning and end, full segments, an acknowledgement for every second one."""
    segments_out, segments_in = -(-sent // SEGMENT), -(-received // SEGMENT)
    return 4 + segments_out + segments_in // 2, 4 + segments_in + segments_out // 2


def estimate_wire(sent: int, received: int) -> int:
    """The bytes of one connection with the headers of its packets, estimated."""
    return sent + received + PACKET_HEADERS * sum(estimate_packets(sent, received))


def estimate_rest(size: int) -> int:
    """The bytes on the wire for so much more of a body on an open connection."""
    return estimate_wire(REQUEST, size + ANSWER) + size // RECORD * RECORD_HEADERS
