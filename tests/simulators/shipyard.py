"""Makes source archives with a build backend of their own, which needs no tool and no network: small, sound and hostile ones."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping

from tests.simulators.python_index import Wheel

# A whole backend (PEP 517). The body runs in build_wheel and may change `files`, `name`, `version`, `tag` and `requires`.
BACKEND = """
import base64, hashlib, os, sys, time, zipfile
from pathlib import Path

def build_wheel(folder, settings=None, metadata=None):
    name, version, tag, requires = {name!r}, {version!r}, "py3-none-any", {requires!r}
    files = {{name + "/__init__.py": Path("module.py").read_bytes() if Path("module.py").exists() else b""}}
{body}
    info = f"{{name}}-{{version}}.dist-info"
    head = f"Metadata-Version: 2.1\\nName: {{name}}\\nVersion: {{version}}\\n"
    files[info + "/METADATA"] = (head + "".join(f"Requires-Dist: {{line}}\\n" for line in requires)).encode()
    files[info + "/WHEEL"] = f"Wheel-Version: 1.0\\nGenerator: yard\\nRoot-Is-Purelib: true\\nTag: {{tag}}\\n".encode()
    lines = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{{path}},sha256={{digest}},{{len(data)}}\\n")
    files[info + "/RECORD"] = ("".join(lines) + f"{{info}}/RECORD,,\\n").encode()
    file = f"{{name}}-{{version}}-{{tag}}.whl"
    with zipfile.ZipFile(os.path.join(folder, file), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)  # with the time of day
    return file
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def source_files(name: str, version: str, body: str = "", requires: tuple[str, ...] = ()) -> dict[str, str]:
    """The files of a package; `body` is indented once by this function."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    backend = BACKEND.format(name=name, version=version, requires=list(requires), body=indented)
    return {"pyproject.toml": PYPROJECT, "backend.py": backend, "module.py": f"VERSION = {version!r}\n"}


def make_sdist(
    name: str, version: str, body: str = "", *, requires: tuple[str, ...] = (), files: Mapping[str, str] | None = None
) -> Wheel:
    """A source archive as an index serves it."""
    content = {**source_files(name, version, body, requires), **(files or {})}
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path, text in content.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return Wheel(name=name, version=version, file=f"{name}-{version}.tar.gz", data=buffer.getvalue())


def make_zip_sdist(name: str, version: str) -> Wheel:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in source_files(name, version).items():
            archive.writestr(f"{name}-{version}/{path}", text)
    return Wheel(name=name, version=version, file=f"{name}-{version}.zip", data=buffer.getvalue())
