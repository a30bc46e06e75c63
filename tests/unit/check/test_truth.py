"""Every file against what its publisher says of it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from tests.simulators.bases import tar_of
from tests.unit.check.trees import LIB, SITE, Files, facts_of, system
from wherry.check.contents import read_contents
from wherry.check.doctor import examine_layers, examine_tree
from wherry.check.folders import examine_environment, examine_root
from wherry.check.tree import LayeredTree
from wherry.formats.tar import EntryKind, TarEntry
from wherry.model.digest import Digest
from wherry.model.lock import LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform
from wherry.model.report import Finding, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
INFO = "tiny-1.0.dist-info"


def installed(files: dict[str, bytes], prefix: str = f"{SITE}/") -> dict[str, bytes]:
    """A distribution with a RECORD of true digests."""
    lines = [f"{INFO}/RECORD,,", "tiny/__pycache__/__init__.cpython-311.pyc,,"]
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f'"{path}",sha256={digest},{len(data)}' if "," in path else f"{path},sha256={digest},{len(data)}")
    return {**{f"{prefix}{path}": data for path, data in files.items()}, f"{prefix}{INFO}/RECORD": "\n".join(lines).encode()}


FILES = {
    "tiny/__init__.py": b"x = 1\n",
    "tiny/a,b.txt": b"comma",
    "tiny.py": b"",
    "../../../bin/tiny": b"#!/opt/env/bin/python\n",
    f"{INFO}/METADATA": b"Name: tiny\nVersion: 1.0\n",
}
GOOD = {path.replace(f"{SITE}/../../../", "opt/env/"): data for path, data in installed(FILES).items()}
# What `system` brings, without its distribution of an untrue RECORD.
BARE = {path: content for path, content in system().items() if "six" not in path}


def examine(*layers: Files, locked: PlatformLock | None = None) -> tuple[Finding, ...]:
    stacked = [BARE, *layers]
    contents = [read_contents([tar_of(files)], "test") for files in stacked]
    return examine_layers(list(map(facts_of, stacked)), "test", None, contents=contents, locked=locked).findings


def brief(findings: tuple[Finding, ...]) -> list[tuple[str, Severity, str]]:
    return [(one.rule, one.severity, one.subject) for one in findings]


def test_what_is_as_recorded() -> None:
    assert examine({**GOOD, f"{SITE}/tiny/__pycache__/x.cpython-311.pyc": b""}) == ()


def test_an_altered_file_and_a_missing_one() -> None:
    (altered,) = examine(GOOD, {f"{SITE}/tiny/__init__.py": b"x = 2\n"})
    assert (altered.rule, altered.severity, altered.owner) == ("altered-file", ERROR, "tiny 1.0")
    assert altered.what == "1 file of tiny 1.0 is not what its RECORD says"
    (missing,) = examine(GOOD, {"opt/env/bin/.wh.tiny": b""})
    assert (missing.rule, missing.severity, missing.where) == ("missing-file", ERROR, ("/opt/env/bin/tiny",))


def test_files_that_nobody_brought() -> None:
    (found,) = examine(GOOD, {f"{SITE}/sneaked/in.py": b"", f"{SITE}/sneaked/too.py": b""})
    assert (found.rule, found.severity, found.subject) == ("extra-file", WARNING, "sneaked")
    assert examine(GOOD, {f"{SITE}/old.egg-info/PKG-INFO": b"", f"{SITE}/old.py": b""}) == ()


def test_a_hard_link_has_its_files_content() -> None:
    hard = TarEntry(path=f"{SITE}/tiny.py", kind=EntryKind.HARDLINK, link=f"{SITE}/a/empty")
    files = {path: content for path, content in GOOD.items() if path != f"{SITE}/tiny.py"}
    assert brief(examine({f"{SITE}/a/empty": b"", **files, f"{SITE}/tiny.py": hard})) == [("extra-file", WARNING, "a")]


def test_dpkgs_lists() -> None:
    data = b"\x01library"
    text = f"{hashlib.md5(data).hexdigest()}  lib/x86_64-linux-gnu/libx.so.1\n{'0' * 32}  usr/share/doc/x/copyright\n"
    files = {**GOOD, f"{LIB}/libx.so.1": data, "var/lib/dpkg/info/libx1:amd64.md5sums": text.encode()}
    assert examine(files) == ()
    assert brief(examine(files, {f"{LIB}/libx.so.1": b"other"})) == [("altered-file", WARNING, "libx1")]
    assert brief(examine(files, {f"{LIB}/.wh.libx.so.1": b""})) == [("missing-file", WARNING, "libx1")]


def test_debians_own_packages_have_untrue_records() -> None:
    laid = installed(FILES, "usr/lib/python3/dist-packages/")
    assert examine(GOOD, {path: b"changed" if path.endswith("tiny.py") else data for path, data in laid.items()}) == ()


def locked(*wheels: tuple[str, str]) -> PlatformLock:
    return PlatformLock(
        platform=Platform("linux", "amd64"),
        base=None,
        interpreter=LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11"),
        debs=(),
        wheels=tuple(
            LockedWheel(name=name, version=version, file=f"{name}.whl", size=1, sha256=Digest("0" * 64)) for name, version in wheels
        ),
        layers=(),
    )


def test_the_lock() -> None:
    assert examine(GOOD, locked=locked(("tiny", "1.0"))) == ()
    assert [one.what for one in examine(GOOD, locked=locked(("tiny", "1.1"), ("other", "2.0")))] == [
        "other: the image has none, the lock 2.0",
        "tiny: the image has 1.0, the lock 1.1",
    ]


def test_an_environment_of_this_machine(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    for path, data in installed(FILES, "lib/python3.11/site-packages/").items():
        (venv / path).parent.mkdir(parents=True, exist_ok=True)
        (venv / path).write_bytes(data)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    rules = {one.rule for one in examine_environment(venv, files=True).findings}
    (venv / "lib/python3.11/site-packages/tiny.py").write_bytes(b"edited")
    assert {one.rule for one in examine_environment(venv, files=True).findings} - rules == {"altered-file"}
    assert "altered-file" not in {one.rule for one in examine_environment(venv).findings}


def test_the_root_of_an_image_in_a_folder(tmp_path: Path) -> None:
    for path, data in GOOD.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "opt/env/lib64").symlink_to("lib")
    assert "altered-file" not in {one.rule for one in examine_root(tmp_path, files=True).findings}
    (tmp_path / SITE / "tiny.py").write_bytes(b"edited")
    assert "altered-file" in {one.rule for one in examine_root(tmp_path, files=True).findings}
    assert "altered-file" not in {one.rule for one in examine_root(tmp_path).findings}


@pytest.mark.parametrize("record", [b"", b"\xff\xfe", b'"tiny/x,sha256=?\n', b"tiny.py,sha256=zzz,0\n", b"\n\n,,\n"])
def test_odd_records_end_well(record: bytes) -> None:
    examine({**GOOD, f"{SITE}/{INFO}/RECORD": record})


def shadows(files: Files) -> list[tuple[str, Severity, str]]:
    tree = LayeredTree(map(facts_of, [BARE, GOOD, files]))
    return brief(examine_tree(tree, "test", None, workdir="/app").findings)


def test_modules_that_hide_others() -> None:
    assert shadows({"app/random.py": b"", "app/main.py": b"", "app/code/x.py": b""}) == [("shadowed-module", WARNING, "random")]
    assert shadows({"app/tiny/__init__.py": b""}) == [("shadowed-module", NOTE, "tiny")]


def conda_record(name: str, *paths: dict[str, object], **more: object) -> dict[str, bytes]:
    document = {"name": name, "version": "1", "paths_data": {"paths": list(paths), "paths_version": 1}, **more}
    return {f"opt/conda/conda-meta/{name}-1-0.json": json.dumps(document).encode()}


def listed(path: str, data: bytes, **more: object) -> dict[str, object]:
    return {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(data).hexdigest(), **more}


def test_a_prefix_of_condas() -> None:
    files = {"opt/conda/lib/liba.so": b"a", "opt/conda/bin/tool": b"#!/opt/conda", "opt/conda/bin/link": b"x", **GOOD}
    record = conda_record(
        "tool",
        listed("lib/liba.so", b"a"),
        listed(
            "bin/tool",
            b"#!/placeholder",
            prefix_placeholder="/placeholder",
            sha256_in_prefix=hashlib.sha256(b"#!/opt/conda").hexdigest(),
        ),
        listed("bin/link", b"y", path_type="softlink"),
        listed("lib/python3.11/__pycache__/x.pyc", b""),
    )
    assert examine({**files, **record}) == ()
    assert brief(examine({**files, **record}, {"opt/conda/lib/liba.so": b"b"})) == [("altered-file", ERROR, "tool 1")]
    assert brief(examine({**files, **record}, {"opt/conda/lib/.wh.liba.so": b""})) == [("missing-file", ERROR, "tool 1")]
    clash = conda_record("other", listed("lib/liba.so", b"b"))
    assert examine({**files, **record, **clash}) == ()


@pytest.mark.parametrize("record", [b"", b"[]", b'{"name": 1}', b'{"name": "x", "version": "1", "paths_data": {"paths": [1]}}'])
def test_odd_records_of_conda_end_well(record: bytes) -> None:
    assert examine({**GOOD, "opt/conda/conda-meta/x.json": record}) == ()


def test_what_conda_installed_is_its_own_to_say() -> None:
    site = "opt/conda/lib/python3.11/site-packages"
    python = {"opt/conda/bin/python3.11": BARE["usr/bin/python3.11"]}
    laid = {
        f"{site}/own.py": b"x",
        f"{site}/own-1.dist-info/METADATA": b"Name: own\nVersion: 1\n",
        f"{site}/own-1.dist-info/RECORD": b"own.py,sha256=AAAA,1\n",
    }
    record = conda_record("own", *(listed(path.removeprefix("opt/conda/"), data) for path, data in laid.items()))
    assert examine({**GOOD, **python, **laid, **record}) == ()
