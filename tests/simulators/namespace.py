"""A network namespace with one interface: programs in it reach this process by a cable whose packets the kernel counts.

    with open_namespace() as space:
        with WebSimulator(files, host=space.host) as web:
            space.run([sys.executable, "poll.py", web.url])
        assert space.traffic().bytes < 5_000      # IP headers and all that is in the packets, both ways

Neither end merges or splits packets behind TCP's back, nobody asks for addresses (no ARP, no IPv6), and the cable has Ethernet's
1,500 bytes: what is counted is what a carrier would bill. Needs root; the kernel removes it all when the process that holds the
namespace ends.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import cannot_run, require_tool

_ETHERNET = 14  # bytes of each packet that a carrier does not bill


@dataclass(frozen=True, kw_only=True)
class Cable:
    """Whole IP packets, as seen from the namespace."""

    bytes_out: int
    bytes_in: int
    packets_out: int
    packets_in: int

    @property
    def bytes(self) -> int:
        return self.bytes_out + self.bytes_in

    def __sub__(self, former: Cable) -> Cable:
        return Cable(
            bytes_out=self.bytes_out - former.bytes_out,
            bytes_in=self.bytes_in - former.bytes_in,
            packets_out=self.packets_out - former.packets_out,
            packets_in=self.packets_in - former.packets_in,
        )


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """`host` is this process's address on the cable; `name` the interface on this side."""

    host: str
    name: str
    pid: int

    def run(self, argv: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run a program in the namespace to its good end."""
        words = ["nsenter", "-t", str(self.pid), "-n", *argv]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def traffic(self) -> Cable:
        counts = {}
        for name in ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets"):
            counts[name] = int(Path(f"/sys/class/net/{self.name}/statistics/{name}").read_text())
        return Cable(  # what this side receives, the namespace has sent
            bytes_out=counts["rx_bytes"] - _ETHERNET * counts["rx_packets"],
            bytes_in=counts["tx_bytes"] - _ETHERNET * counts["tx_packets"],
            packets_out=counts["rx_packets"],
            packets_in=counts["tx_packets"],
        )


@contextmanager
def open_namespace() -> Iterator[Namespace]:
    """Skips the test where namespaces cannot be made."""
    require_tool("ip", "unshare", "nsenter")
    if os.geteuid() != 0:
        cannot_run("network namespaces need root")
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"up\n")
        holder.stdin.flush()
        holder.stdout.read(3)  # the namespace is there
        space = Namespace(
            host=f"10.211.{holder.pid >> 6 & 255}.{(holder.pid & 63) * 4 + 1}", name=f"whr{holder.pid}", pid=holder.pid
        )
        _lay_cable(space)
        yield space
    finally:
        holder.communicate()


def _lay_cable(space: Namespace) -> None:
    far, first = f"{space.name}n", space.host.rpartition(".")
    address = f"{first[0]}.{int(first[2]) + 1}"
    inside = ("nsenter", "-t", str(space.pid), "-n")
    _call("ip", "link", "add", space.name, "type", "veth", "peer", "name", far)
    _call("ip", "link", "set", far, "netns", str(space.pid))
    for prefix, name, own, other in (((), space.name, space.host, address), (inside, far, address, space.host)):
        _call(*prefix, "sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        _call(*prefix, "ip", "link", "set", name, "up", "gso_max_segs", "1", "gso_max_size", "1514")
        _call(*prefix, "ip", "address", "add", f"{own}/30", "dev", name)
        mac = _mac_of(inside if not prefix else (), far if not prefix else space.name)
        _call(*prefix, "ip", "neighbour", "replace", other, "lladdr", mac, "dev", name, "nud", "permanent")


def _mac_of(prefix: tuple[str, ...], name: str) -> str:
    return _call(*prefix, "ip", "-brief", "link", "show", name).split()[2]


def _call(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        cannot_run(f"no network namespace: {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
