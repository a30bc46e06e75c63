"""Certificates for servers on loopback: a root that clients trust, an intermediate, and the server's own.

Two forms, as public authorities give them: `rsa` (2,048 bits throughout) and `ecdsa` (P-256). Servers send two certificates,
their own and the intermediate; the root stays at home. Made with the `openssl` program.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.conftest import require_tool

_KEYS = {"rsa": ("-newkey", "rsa:2048"), "ecdsa": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")}
_AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """`root` is what clients are told to trust; `chain` and `key` are the server's."""

    root: Path
    chain: Path
    key: Path

    def server_context(self, *, tickets: int = 2, tls13: bool = True) -> ssl.SSLContext:
        """As common servers have it: two session tickets after the handshake; `tls13=False` speaks 1.2 only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        context.num_tickets = tickets
        if not tls13:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


def make_certificates(folder: Path, kind: Literal["rsa", "ecdsa"] = "ecdsa", names: Sequence[str] = ()) -> Certificates:
    """For 127.0.0.1, localhost and more `names`, written ``IP:10.0.0.1`` or ``DNS:host``."""
    require_tool("openssl")
    folder.mkdir(parents=True, exist_ok=True)
    places = ",".join(("IP:127.0.0.1", "DNS:localhost", *names))
    _issue(folder, kind, "root", None, "/O=Harbour Trust/CN=Harbour Root X1", _AUTHORITY)
    _issue(folder, kind, "middle", "root", "/C=NL/O=Harbour Trust/CN=H3", (*_AUTHORITY, "extendedKeyUsage=serverAuth"))
    server = ("basicConstraints=critical,CA:FALSE", f"subjectAltName={places}", "extendedKeyUsage=serverAuth,clientAuth")
    _issue(folder, kind, "server", "middle", "/CN=localhost", server)
    chain = folder / "chain.pem"
    chain.write_bytes((folder / "server.pem").read_bytes() + (folder / "middle.pem").read_bytes())
    return Certificates(root=folder / "root.pem", chain=chain, key=folder / "server.key")


def _issue(folder: Path, kind: str, name: str, by: str | None, subject: str, extensions: Sequence[str]) -> None:
    signer = ("-CA", str(folder / f"{by}.pem"), "-CAkey", str(folder / f"{by}.key")) if by else ()
    more = [word for extension in extensions for word in ("-addext", extension)]
    words = ["openssl", "req", "-x509", "-nodes", "-sha256", "-days", "30", *_KEYS[kind], "-subj", subject, *more, *signer]
    # Without a configuration file, whose extensions would come on top.
    done = subprocess.run(
        [*words, "-config", "/dev/stdin", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"],
        input=b"[req]\ndistinguished_name=dn\n[dn]\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
