"""What Windows and Python themselves bring: the DLLs that a package may count on, and who brings the others.

The list of the package's own data can be extended by a text, a wheel or a folder, or replaced by what a Windows image has
(`--dlls`). Nothing is read of a DLL but its name.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from wherry.errors import FormatError, StoreError
from wherry.model.cuda import name_cuda_wheel

_API_SET = re.compile(r"(?:api-ms-win|ext-ms)-.+")
_PYTHONS_OWN = re.compile(r"vcruntime140(?:_1)?\.dll")
_DRIVER = re.compile(
    r"(?:nvcuda|nvml|nvcuvid|nvencodeapi64|nvapi64|nvoptix|vulkan-1|opencl|amdhip64(?:_\d+)?|ze_loader|openvr_api)\.dll"
)
_LIBRARY = re.compile(r"[^\\/:*?\"<>|\s]+\.(?:dll|drv|ocx|cpl|pyd)", re.IGNORECASE)
_SYSTEM = re.compile(r"(?:files/)?windows/system32/([^/]+)", re.IGNORECASE)
_MAX_LIST = 16 << 20

# Who brings a DLL that is not part of Windows: its name, the wheel (or none), and the way on.
_RUNTIME = "the wheel msvc-runtime among the requirements, or Microsoft's Visual C++ Redistributable on each machine"
_BROUGHT = (
    (r"(?:msvcp140(?:_\w+)?|concrt140|vccorlib140|vcomp140|vcamp140|vcruntime140\w*)\.dll", "msvc-runtime", _RUNTIME),
    (
        r"msvc[pr]120\.dll|vcomp120\.dll",
        "",
        "the Visual C++ 2013 Redistributable, or rather a newer version of the package",
    ),
    (r"msvc[pr](?:110|100|90)\.dll", "", "an old Visual C++ Redistributable, or rather a newer version of the package"),
    (r"mfc140\w*\.dll", "", "Microsoft's Visual C++ Redistributable on each machine"),
    (r"libomp140\.x86_64\.dll", "", "the LLVM OpenMP library that Visual Studio has; or a version of the package that brings it"),
    (r"libiomp5md\.dll", "intel-openmp", "the wheel intel-openmp among the requirements"),
    (r"mkl_\w+(?:\.\d)?\.dll", "mkl", "the wheel mkl among the requirements"),
    (r"(?:tbb12|tbb|tbbmalloc)\.dll", "tbb", "the wheel tbb among the requirements"),
    (r"cudart64_(1\d)\d*\.dll", "nvidia-cuda-runtime-cu{0}", ""),
    (r"cublas(?:lt)?64_(1\d)\.dll", "nvidia-cublas-cu{0}", ""),
    (r"nvrtc64_(1\d)\d*_\d+\.dll", "nvidia-cuda-nvrtc-cu{0}", ""),
    (r"nvjitlink_(1\d)\d*_\d+\.dll", "nvidia-nvjitlink-cu{0}", ""),
    (r"cudnn\w*64_[89]\.dll", "nvidia-cudnn-cu12", ""),
    (r"cufft\w*64_11\.dll", "nvidia-cufft-cu12", ""),
    (r"curand64_10\.dll", "nvidia-curand-cu12", ""),
    (r"cusparse64_12\.dll", "nvidia-cusparse-cu12", ""),
    (r"cusolver\w*64_11\.dll", "nvidia-cusolver-cu12", ""),
    (r"py(?:thoncom|wintypes)3\d+\.dll", "pywin32", "the wheel pywin32 among the requirements"),
    (
        r"lib(?:gcc_s_\w+-1|stdc\+\+-6|winpthread-1|gfortran-\d+|quadmath-0)\.dll",
        "",
        "it was built with MinGW and not repaired (delvewheel puts the compiler's DLLs into the wheel): another version",
    ),
)
_CUDA = "the wheel {wheel} among the requirements, or a build without CUDA"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsDlls:
    """Names in lower case: `core` are in every Windows, `desktop` in those with a desktop alone."""

    core: frozenset[str]
    desktop: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        """Whether every Windows has it, or Python brings it, or it is no file but an API set."""
        return name in self.core or _API_SET.fullmatch(name) is not None or _PYTHONS_OWN.fullmatch(name) is not None

    def extend(self, names: Iterable[str]) -> WindowsDlls:
        return WindowsDlls(core=self.core | set(map(str.lower, names)), desktop=self.desktop)


@cache
def read_known_dlls() -> WindowsDlls:
    """The list that wherry brings."""
    text = resources.files("wherry.check").joinpath("data/windows-dlls.txt").read_text(encoding="utf-8")
    parts: dict[str, set[str]] = {"": set(), "core": set(), "desktop": set()}
    part = ""
    for line in text.splitlines():
        if line.startswith("["):
            part = line.strip("[]")
        elif not line.startswith("#"):
            parts[part].update(line.split())
    return WindowsDlls(core=frozenset(parts["core"]), desktop=frozenset(parts["desktop"]))


def is_driver(name: str) -> bool:
    """Whether the driver of a GPU brings it."""
    return _DRIVER.fullmatch(name) is not None


def find_bringer(name: str) -> tuple[str, str]:
    """The wheel that brings a DLL, and what to try; empty where nobody is known."""
    for pattern, wheel, remedy in _BROUGHT:
        found = re.fullmatch(pattern, name)
        if found:
            wheel = name_cuda_wheel(wheel, *found.groups())
            return wheel, remedy or _CUDA.format(wheel=wheel)
    return "", ""


def read_dll_names(path: Path) -> tuple[str, ...]:
    """The names that ``--dlls FILE`` gives: of a wheel's members, of a folder's files, or the words of a text."""
    try:
        if path.is_dir():
            return tuple(each.name for each in path.iterdir() if _LIBRARY.fullmatch(each.name))
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                return tuple(each for name in archive.namelist() if _LIBRARY.fullmatch(each := name.rpartition("/")[2]))
        if path.stat().st_size > _MAX_LIST:
            raise FormatError("too large for a list of names", where=str(path))
        names = _LIBRARY.findall(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise FormatError(f"no list of names: {error}", where=str(path)) from error
    if not names:
        raise FormatError("names no DLL", where=str(path), hint="one name a line, as `dir /b C:\\Windows\\System32` prints them")
    return tuple(names)


def pick_system_dlls(paths: Iterable[str]) -> tuple[str, ...]:
    """Of the paths of a Windows image's layers the names of what lies in System32."""
    return tuple(found[1] for path in paths if (found := _SYSTEM.fullmatch(path)) and _LIBRARY.fullmatch(found[1]))
