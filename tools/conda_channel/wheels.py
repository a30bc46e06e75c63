"""Wraps wheels as conda packages: pure ones as noarch python, others for the subdir that their tag says.

Files lie where conda-build would have put them; what a wheel requires becomes `depends`, by the rules of its markers on Linux.
"""

from __future__ import annotations

import configparser
import zipfile
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from tools.conda_channel.packages import PLACEHOLDER, CondaPackage, PackagedFile

_MACHINES = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}


def wrap_wheel(
    wheel: Path, *, python: str = "3.11", names: Mapping[str, str] | None = None, depends: tuple[str, ...] = (), number: int = 0
) -> CondaPackage:
    """Read a wheel whole into a package. `names` are conda's names where they differ from PyPI's; `depends` come on top."""
    name, version, _, tags = parse_wheel_filename(wheel.name)
    platforms = {tag.platform for tag in tags}
    pure = platforms == {"any"}
    subdir = "noarch" if pure else next(_MACHINES[one] for one in _MACHINES if any(each.endswith(one) for each in platforms))
    with zipfile.ZipFile(wheel) as archive:
        info = next(path for path in archive.namelist() if path.endswith(".dist-info/METADATA")).rpartition("/")[0]
        metadata = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
        entry_points = _entry_points(archive, info)
        files = dict(_place_files(archive, "" if pure else f"lib/python{python}/"))
    if not pure:
        files |= {f"bin/{point.partition(' = ')[0]}": _console_script(point.partition(" = ")[2]) for point in entry_points}
    supported = str(SpecifierSet(metadata["Requires-Python"] or "")) if pure else f"{python}.*"
    specs = [_as_spec(line, python, names or {}) for line in metadata.get_all("Requires-Dist", [])]
    return CondaPackage(
        name=(names or {}).get(str(name), str(name)),
        version=str(version),
        build=f"pyhd_{number}" if pure else f"py{python.replace('.', '')}_{number}",
        number=number,
        subdir=subdir,
        noarch="python" if pure else None,
        depends=(f"python {supported}".strip(), *filter(None, specs), *depends),
        files=files,
        entry_points=entry_points if pure else (),
        license=metadata["License-Expression"] or "unknown",
    )


def _place_files(archive: zipfile.ZipFile, lib: str) -> Iterator[tuple[str, PackagedFile]]:
    """Where conda has each file. `lib` is empty for noarch packages."""
    packages = f"{lib}site-packages"
    schemes = {
        "purelib": packages,
        "platlib": packages,
        "data": "",
        "headers": "include",
        "scripts": "bin" if lib else "python-scripts",
    }
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        first, _, rest = entry.filename.partition("/")
        scheme, _, below = rest.partition("/") if first.endswith(".data") else ("purelib", "", entry.filename)
        data, mode = archive.read(entry), 0o755 if entry.external_attr >> 16 & 0o100 else 0o644
        path = f"{schemes[scheme]}/{below}".lstrip("/")
        if scheme == "scripts" and data.startswith(b"#!python"):
            data = data.replace(b"#!python", f"#!{PLACEHOLDER}/bin/python".encode(), 1)
            yield path, PackagedFile(data=data, mode=0o755, placeholder=PLACEHOLDER)
        else:
            yield path, PackagedFile(data=b"conda\n" if path.endswith(".dist-info/INSTALLER") else data, mode=mode)


def _entry_points(archive: zipfile.ZipFile, info: str) -> tuple[str, ...]:
    """``NAME = MODULE:FUNCTION`` of the console scripts."""
    if f"{info}/entry_points.txt" not in archive.namelist():
        return ()
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string(archive.read(f"{info}/entry_points.txt").decode())
    found = parser["console_scripts"] if parser.has_section("console_scripts") else {}
    return tuple(f"{name} = {value.partition('[')[0].strip()}" for name, value in found.items())


def _console_script(target: str) -> PackagedFile:
    """What conda-build writes for an entry point of a package that is not noarch."""
    module, _, function = target.partition(":")
    first = function.partition(".")[0]
    text = f'#!{PLACEHOLDER}/bin/python\nimport sys\n\nfrom {module} import {first}\n\nif __name__ == "__main__":\n'
    return PackagedFile(data=f"{text}    sys.exit({function}())\n".encode(), mode=0o755, placeholder=PLACEHOLDER)


def _as_spec(line: str, python: str, names: Mapping[str, str]) -> str:
    """A requirement as a match spec; empty where its marker does not hold on Linux."""
    requirement = Requirement(line)
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "extra": ""}
    if requirement.marker and not requirement.marker.evaluate({**environment, "platform_system": "Linux", "os_name": "posix"}):
        return ""
    name = canonicalize_name(requirement.name)
    return f"{names.get(name, name)} {requirement.specifier}".strip()
