"""What bytes at a socket become on a metered link: packets with headers, which is what a carrier counts.

The figures were measured with `tests/simulators` (a TLS 1.3 server on loopback that sends two RSA certificates and two session
tickets, nginx-like headers, a cable in a network namespace), and tests hold them to it. Elliptic-curve certificates save 1 kB of
a full handshake, a longer chain or a chatty server costs more. Not counted: looking up names, packets that are lost and sent again.
"""

from __future__ import annotations

from dataclasses import dataclass

PACKET_HEADERS = 52  # IPv4, and TCP with the time stamp option
SEGMENT = 1448  # what then fits into a packet of 1,500 bytes
SYN_OPTIONS = 8  # bytes more in the first packet each way
FIRST_PART = 16 << 10  # a poll asks for so much; the rest is a request of its own
HANDSHAKE_SENT, HANDSHAKE_RECEIVED = 320, 2_850  # tickets included
REQUEST, ANSWER = 230, 310  # with what TLS adds to them
RECORD, RECORD_HEADERS = 16 << 10, 22  # what TLS adds to a body


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What one connection moved: bytes at the socket, packets, and the bytes of headers that each packet has."""

    sent: int
    received: int
    packets_out: int
    packets_in: int
    headers: int = PACKET_HEADERS

    @property
    def socket_bytes(self) -> int:
        """Both ways, TLS included."""
        return self.sent + self.received

    @property
    def wire_bytes(self) -> int:
        """With the headers of all packets: what is billed, before a tariff rounds it."""
        return self.socket_bytes + self.headers * (self.packets_out + self.packets_in) + 2 * SYN_OPTIONS


def estimate_packets(sent: int, received: int) -> tuple[int, int]:
    """The packets of one connection, out and in: its beginning and end, full segments, an acknowledgement for every second one."""
    segments_out, segments_in = -(-sent // SEGMENT), -(-received // SEGMENT)
    return 6 + segments_out + segments_in // 2, 6 + segments_in + segments_out // 2


def estimate_wire(sent: int, received: int) -> int:
    """The bytes of one connection with the headers of its packets."""
    out, into = estimate_packets(sent, received)
    return Traffic(sent=sent, received=received, packets_out=out, packets_in=into).wire_bytes


def estimate_rest(size: int) -> int:
    """The bytes on the wire for so much more of a body on an open connection, headers of packets included."""
    carried = REQUEST + ANSWER + size + size // RECORD * RECORD_HEADERS
    return carried + PACKET_HEADERS * (4 + -(-carried * 3 // (2 * SEGMENT)))


def estimate_fetch(size: int, *, new_connection: bool = True) -> Traffic:
    """A poll that brings a parcel of so many bytes; 0 when it brings nothing new."""
    requests = 1 + (size > FIRST_PART)
    sent = REQUEST * requests + HANDSHAKE_SENT * new_connection
    received = ANSWER * requests + HANDSHAKE_RECEIVED * new_connection + size + size // RECORD * RECORD_HEADERS
    out, into = estimate_packets(sent, received)
    return Traffic(sent=sent, received=received, packets_out=out, packets_in=into)
