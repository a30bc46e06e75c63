"""One package of each kind that a reader of channels must know, all small and sound.

`fake_python` stands for an interpreter where nothing is run: it needs no network. A real one is `debian_records`'s.
"""

from __future__ import annotations

from pathlib import Path

from tools.conda_channel.channel import Channel
from tools.conda_channel.packages import PLACEHOLDER, CondaPackage, PackagedFile
from tools.conda_channel.tiny_program import make_tiny_program

SUBDIRS = ("linux-64", "linux-aarch64")


def write_samples(folder: Path, *, python: bool = True) -> Channel:
    """A channel of all samples with its index. `python`: with the fake interpreter."""
    channel = Channel(folder)
    channel.add(hello("1.0"), hello("1.1"), answer("1.0"), answer("2.0"), almanac(), talker())
    channel.add(hello("0.9"), almanac("2023.1"), form=".tar.bz2")
    for subdir in SUBDIRS:
        channel.add(compass(subdir), harbour(subdir), *clobbers(subdir), old_anchor(subdir))
        channel.add(compass(subdir, "0.9"), form=".tar.bz2")
        if python:
            channel.add(fake_python(subdir), fake_python(subdir, "3.12.4"))
    channel.write_index()
    return channel


def hello(version: str) -> CondaPackage:
    """Pure Python for any Python, with an entry point, its distribution's metadata, and something that it depends on."""
    code = f'VERSION = "{version}"\n\n\ndef main() -> None:\n    import answer\n\n    print("hello", VERSION, answer.VALUE)\n'
    return CondaPackage(
        name="hello",
        version=version,
        build="pyhd_0",
        noarch="python",
        depends=("python >=3.9", "answer"),
        files={"site-packages/hello/__init__.py": code.encode(), **dist_info("hello", version, ("answer",), "hello = hello:main")},
        entry_points=("hello = hello:main",),
    )


def answer(version: str) -> CondaPackage:
    """The smallest pure Python package; its value is its version's major number."""
    return CondaPackage(
        name="answer",
        version=version,
        build="pyhd_0",
        noarch="python",
        depends=("python >=3.9",),
        files={"site-packages/answer.py": f"VALUE = {version.partition('.')[0]}\n".encode(), **dist_info("answer", version)},
    )


def almanac(version: str = "2024.1") -> CondaPackage:
    """Only data, for any platform: nested folders, an empty file, a link, a name that is not ASCII, a file without a link."""
    files = {
        "share/almanac/tides.csv": PackagedFile(data=b"harbour,high\nwherry,6:04\n"),
        "share/almanac/empty": PackagedFile(),
        "share/almanac/latest": PackagedFile(link="tides.csv"),
        "share/almanac/deep/er/Müller's list.txt": PackagedFile(data=b"names\n"),
        "share/almanac/copied": PackagedFile(data=b"never a hard link\n", no_link=True),
    }
    return CondaPackage(name="almanac", version=version, noarch="generic", files=files)


def compass(subdir: str, version: str = "1.0") -> CondaPackage:
    """Compiled: a real executable that prints the prefix embedded in it, a script with it as text, a shared name by links."""
    program = make_tiny_program(subdir, f"{PLACEHOLDER}/share/compass\n")
    script = f"#!{PLACEHOLDER}/bin/python\nprint({f'{PLACEHOLDER}/share/compass'!r})\n"
    files = {
        "bin/compass": PackagedFile(data=program, mode=0o755, placeholder=PLACEHOLDER, binary=True),
        "bin/compass-script": PackagedFile(data=script.encode(), mode=0o755, placeholder=PLACEHOLDER),
        "etc/compass.conf": PackagedFile(data=f"home={PLACEHOLDER}\nagain={PLACEHOLDER}/bin\n".encode(), placeholder=PLACEHOLDER),
        "lib/libcompass.so.1.0": PackagedFile(data=make_tiny_program(subdir, "no prefix")),
        "lib/libcompass.so": PackagedFile(link="libcompass.so.1.0"),
        "lib/libcompass.so.1": PackagedFile(link="libcompass.so.1.0"),
    }
    return CondaPackage(name="compass", version=version, build="h1a2b3c_0", subdir=subdir, depends=("__glibc >=2.17",), files=files)


def harbour(subdir: str) -> CondaPackage:
    """A compiled Python module, so for one minor version of Python; it ships a `.pyc`, too."""
    files = {
        "lib/python3.11/site-packages/harbour/__init__.py": b"from answer import VALUE\n",
        "lib/python3.11/site-packages/harbour/_fast.cpython-311-so.so": make_tiny_program(subdir, "fast"),
        "lib/python3.11/site-packages/harbour/__pycache__/__init__.cpython-311.pyc": b"not what Python would compile",
        **dist_info("harbour", "3.1", ("answer",), root="lib/python3.11/site-packages"),
    }
    depends = ("python 3.11.*", "answer >=1")
    return CondaPackage(name="harbour", version="3.1", build="py311_0", subdir=subdir, depends=depends, files=files)


def talker() -> CondaPackage:
    """With link scripts: two that would run when it is installed, one when it is removed."""
    scripts = {
        "pre-link": "#!/bin/sh\nexit 0\n",
        "post-link": '#!/bin/sh\necho "ahoy" >> "$PREFIX/.messages.txt"\ntouch "$PREFIX/share/talker/registered"\n',
        "pre-unlink": '#!/bin/sh\nrm -f "$PREFIX/share/talker/registered"\n',
    }
    return CondaPackage(name="talker", noarch="generic", files={"share/talker/words": b"ahoy\n"}, scripts=scripts)


def clobbers(subdir: str) -> tuple[CondaPackage, CondaPackage]:
    """Two packages that bring one path with different content, and one with equal content."""
    both = {"share/clobber/same": b"equal\n"}
    first = {**both, "share/clobber/path": b"of clobber-a\n", "share/clobber/a": b"a\n"}
    second = {**both, "share/clobber/path": b"of clobber-b\n", "share/clobber/b": b"b\n"}
    return (
        CondaPackage(name="clobber-a", subdir=subdir, files=first),
        CondaPackage(name="clobber-b", subdir=subdir, files=second, depends=("clobber-a",)),
    )


def old_anchor(subdir: str) -> CondaPackage:
    """As packages were before 2017: no paths.json, only `files` and `has_prefix`."""
    text = f"root={PLACEHOLDER}\n".encode()
    files = {"etc/anchor.conf": PackagedFile(data=text, placeholder=PLACEHOLDER), "share/anchor/iron": b"heavy\n"}
    return CondaPackage(name="old-anchor", version="0.1", subdir=subdir, files=files, info={"info/paths.json": None})


def fake_python(subdir: str, version: str = "3.11.2") -> CondaPackage:
    """Looks like an interpreter to a solver and an installer, and runs nothing."""
    minor = ".".join(version.split(".")[:2])
    files = {
        f"bin/python{minor}": PackagedFile(data=make_tiny_program(subdir, f"Python {version}\n"), mode=0o755),
        "bin/python": PackagedFile(link=f"python{minor}"),
        "bin/python3": PackagedFile(link=f"python{minor}"),
        f"lib/python{minor}/os.py": b"# where a Python looks for its prefix\n",
        f"lib/python{minor}/site-packages/README.txt": b"Packages lie here.\n",
    }
    more = {"python_site_packages_path": f"lib/python{minor}/site-packages"}
    build = f"h{minor.replace('.', '')}0_0_cpython"
    return CondaPackage(name="python", version=version, build=build, subdir=subdir, files=files, more=more)


def dist_info(
    name: str, version: str, requires: tuple[str, ...] = (), entry_point: str = "", *, root: str = "site-packages"
) -> dict[str, bytes]:
    """What `importlib.metadata` and pip see of a distribution."""
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", *(f"Requires-Dist: {one}\n" for one in requires)]
    info = f"{root}/{name.replace('-', '_')}-{version}.dist-info"
    found = {f"{info}/METADATA": "".join(lines).encode(), f"{info}/INSTALLER": b"conda\n", f"{info}/RECORD": b""}
    if entry_point:
        found[f"{info}/entry_points.txt"] = f"[console_scripts]\n{entry_point}\n".encode()
    return found
