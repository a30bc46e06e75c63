"""Laws of equal twins: whatever a lock holds, an environment and an image are planned with the same files of the same digests."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.assemble.packages import NO_PACKAGES, OpenedPackages
from wherry.assemble.wheels import plan_wheels
from wherry.check.twins import Expected
from wherry.model.digest import Digest
from wherry.model.layout import VENV, EnvironmentLayout
from wherry.model.lock import LockedInterpreter, LockedWheel, PlatformLock
from wherry.store.host import read_host_platform
from wherry.twins import list_expected

PLACES = (VENV, "home/me/project/.wherry/env", "srv/a b/env")
MEMBERS = ("m/__init__.py", "m/tests/test_m.py", "m/data.bin", "shared/__init__.py", "{}.data/data/share/x", "{}.data/purelib/p.py")
SCRIPTS = ("{}.data/scripts/tool", "{}.data/scripts/binary")
INTERPRETER = LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11")


@st.composite
def locks(draw: st.DrawFn) -> dict[str, bytes]:
    """Wheels by their names, with files that clash, scripts that name their Python, and entry points."""
    names = draw(st.lists(st.sampled_from(("alpha", "beta", "gamma")), unique=True, min_size=1))
    return {name: draw(wheels(name)) for name in names}


@st.composite
def wheels(draw: st.DrawFn, name: str) -> bytes:
    info = f"{name}-1.0.dist-info"
    chosen = draw(st.frozensets(st.sampled_from((*MEMBERS, *SCRIPTS))))
    members = {path.format(f"{name}-1.0"): draw(st.binary(max_size=40)) for path in sorted(chosen)}
    for path in members:
        if path.endswith("scripts/tool"):
            members[path] = b"#!python\n" + members[path]
        elif path.endswith("scripts/binary"):
            members[path] = b"\x7fELF" + members[path]
    if draw(st.booleans()):
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = m:main\n".encode()
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: law\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return pack(members, f"{info}/RECORD", draw(st.sampled_from(("sha256", "sha512"))))


def pack(members: Mapping[str, bytes], record: str, algorithm: str) -> bytes:
    lines = [f"{path},{algorithm}={encode(hashlib.new(algorithm, data).digest())},{len(data)}" for path, data in members.items()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in {**members, record: "\n".join([*lines, f"{record},,", ""]).encode()}.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return buffer.getvalue()


def encode(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def plan(lock: Mapping[str, bytes], prefix: str, folder: Path) -> tuple[Expected, dict[str, str]]:
    """What the lock gives a place, and the digests of what is truly written to it."""
    locked = [
        LockedWheel(name=name, version="1.0", file=f"{name}-1.0-py3-none-any.whl", size=len(data), sha256=Digest.of(data))
        for name, data in lock.items()
    ]
    own = PlatformLock(platform=read_host_platform(), base=None, interpreter=INTERPRETER, debs=(), wheels=tuple(locked), layers=())
    with ExitStack() as stack:
        for wheel in locked:
            (folder / wheel.file).write_bytes(lock[wheel.name])
        paths = [(wheel, folder / wheel.file) for wheel in locked]
        planned = plan_wheels(paths, EnvironmentLayout(prefix=prefix, minor="3.11"), stack)
        written = {
            entry.path[len(prefix) + 1 :]: hashlib.sha256(
                entry.content if isinstance(entry.content, bytes) else b"".join(entry.content())
            ).hexdigest()
            for wheel in locked
            for entry in planned.entries(wheel.name)
        }
        opened: OpenedPackages = replace(NO_PACKAGES, wheels=planned)
        return list_expected(own, opened, prefix), written


@given(locks())
@settings(max_examples=40, deadline=None)
def test_twins_have_the_same_files(lock: dict[str, bytes]) -> None:
    with TemporaryDirectory() as folder:
        plans = [plan(lock, prefix, Path(folder)) for prefix in PLACES]
    first, _ = plans[0]
    for expected, written in plans:
        assert expected == first
        assert expected.digest == first.digest
        assert {path: written[path] for path in expected.own} == {path: sha for path, (_, sha) in expected.own.items()}
        assert written.keys() == expected.own.keys() | expected.generated


@given(locks())
@settings(max_examples=40, deadline=None)
def test_what_differs_names_its_place(lock: dict[str, bytes]) -> None:
    """Of two places at most those files differ that are listed apart: scripts, and the RECORDs that list them."""
    with TemporaryDirectory() as folder:
        (expected, image), (_, local) = (plan(lock, prefix, Path(folder)) for prefix in PLACES[:2])
    differing = {path for path in image if image[path] != local[path]}
    assert differing <= expected.generated
    assert all(path.startswith("bin/") or path.endswith("/RECORD") for path in differing)
