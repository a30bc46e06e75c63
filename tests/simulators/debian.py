"""A Debian archive in a folder, made and signed here: every attack is an edit of a few lines.

`Archive.write` gives `file:` sources; serve the folder with any web server for http.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pysequoia
from backports import zstd

from wherry.sources.apt import AptSource
from wherry.sources.debian_trust import Keyring

NOW = datetime(2026, 1, 15, tzinfo=UTC)


# A script that must never run, and would do nothing that is worth a word.
NO_EFFECT = {"postinst": "#!/bin/sh\nfalse\n"}


def make_tar(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """Bytes make a file; a TarInfo is written as it is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, value in members.items():
            if isinstance(value, tarfile.TarInfo):
                tar.addfile(value)
                continue
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.size, info.mode = len(value), 0o644
            tar.addfile(info, io.BytesIO(value))
    return out.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def compress(data: bytes, suffix: str) -> bytes:
    if suffix == "xz":
        return lzma.compress(data)
    if suffix == "zst":
        return zstd.compress(data)
    return gzip.compress(data, mtime=0) if suffix == "gz" else data


def make_ar(members: list[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return out


def make_deb(
    name: str,
    version: str = "1.0-1",
    data: dict[str, bytes | tarfile.TarInfo] | None = None,
    *,
    architecture: str = "amd64",
    suffix: str = "xz",
    control: str = "",
    scripts: Mapping[str, str] = NO_EFFECT,
) -> bytes:
    paragraph = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{control}Description: made for a test\n"
    files = data if data is not None else {f"./usr/share/{name}/file": name.encode()}
    texts = {f"./{kind}": text.encode() for kind, text in scripts.items()}
    return make_ar(
        [
            ("debian-binary", b"2.0\n"),
            (
                f"control.tar.{suffix}",
                compress(make_tar({"./control": paragraph.encode(), **texts}), suffix),
            ),
            (f"data.tar.{suffix}", compress(make_tar(files), suffix)),
        ]
    )


@dataclass
class Archive:
    """One mirror. `suites` maps a suite to its packages as (paragraph fields, deb)."""

    root: Path
    suites: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    key: pysequoia.Tsk = field(default_factory=lambda: pysequoia.Tsk.generate("Archive <archive@example.org>"))
    date: datetime = NOW
    valid_until: datetime | None = NOW + timedelta(days=7)
    more: dict[tuple[str, str], bytes] = field(default_factory=dict)  # (suite, path in it) → other files that its Release names

    @property
    def uri(self) -> str:
        return f"file:{self.root}"

    @property
    def keyring(self) -> Keyring:
        certificate = self.key.extract_certificate()
        keyring = Keyring(trusted=(certificate.fingerprint,))
        keyring.add(bytes(certificate))
        return keyring

    def add(self, suite: str, name: str, version: str = "1.0-1", fields: str = "", *, architecture: str = "amd64") -> bytes:
        deb = make_deb(name, version, architecture=architecture, control=fields)
        filename = f"pool/main/{name}_{version.replace(':', '%3a')}_{architecture}.deb"
        paragraph = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{fields}Filename: {filename}\n"
            f"Size: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
        )
        self.suites.setdefault(suite, []).append((paragraph, deb))
        (self.root / "pool/main").mkdir(parents=True, exist_ok=True)
        (self.root / filename).write_bytes(deb)
        return deb

    def write(self, suffix: str = "xz", architectures: tuple[str, ...] = ("amd64",)) -> Archive:
        for suite, packages in self.suites.items():
            listed = []
            for architecture in architectures:
                text = "\n".join(
                    p for p, _ in packages if f"Architecture: {architecture}\n" in p or "Architecture: all\n" in p
                ).encode()
                data = compress(text, suffix)
                name = f"main/binary-{architecture}/Packages.{suffix}".rstrip(".")
                path = self.root / "dists" / suite / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                listed.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
            for name, data in ((name, data) for (of, name), data in self.more.items() if of == suite):
                path = self.root / "dists" / suite / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                listed.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
            (self.root / "dists" / suite / "InRelease").write_bytes(self.sign(self.release(suite, listed, architectures)))
        return self

    def release(self, suite: str, listed: list[str], architectures: tuple[str, ...]) -> str:
        until = f"Valid-Until: {format_datetime(self.valid_until, usegmt=True)}\n" if self.valid_until else ""
        return (
            f"Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: {format_datetime(self.date, usegmt=True)}\n{until}"
            f"Architectures: {' '.join(architectures)}\nComponents: main\nSHA256:\n" + "\n".join(listed) + "\n"
        )

    def sign(self, text: str) -> bytes:
        return pysequoia.sign(self.key.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR)

    def sources(self, *suites: str) -> tuple[AptSource, ...]:
        return tuple(AptSource(uri=self.uri, suite=suite, components=("main",)) for suite in suites or self.suites)
