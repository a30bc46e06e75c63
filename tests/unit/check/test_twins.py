"""Places held against a lock: every way in which one may not be equal is told, by package; of an equal one nothing is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from wherry.check.twins import Expected, FolderPlace, Twin, TwinPackage, compare_twin
from wherry.model.digest import Digest

SITE = "lib/python3.11/site-packages"
FILES = {
    f"{SITE}/one/__init__.py": b"1",
    f"{SITE}/one/deep.py": b"deep",
    f"{SITE}/One_thing-1.0.dist-info/METADATA": b"metadata",
    f"{SITE}/One_thing-1.0.dist-info/RECORD": b"names the place",
    "bin/one": b"#!/here/bin/python",
}
GENERATED = frozenset({f"{SITE}/One_thing-1.0.dist-info/RECORD", "bin/one"})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


EXPECTED = Expected(
    python="3.11.2",
    packages=(TwinPackage(name="one-thing", version="1.0", sha256=Digest.of(b"wheel")),),
    own={path: ("one-thing 1.0", sha256(data)) for path, data in FILES.items() if path not in GENERATED},
    generated=GENERATED,
)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    for path, data in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    return tmp_path


def look(prefix: Path, python: str = "3.11.9", beside: Mapping[str, str] | None = None, *sites: Path) -> Twin:
    return compare_twin("local", str(prefix), python, EXPECTED, FolderPlace(prefix, "3.11", sites), beside=beside)


def test_an_equal_place(prefix: Path) -> None:
    twin = look(prefix)
    assert twin.differences == ()
    assert twin.digest == EXPECTED.digest
    assert (twin.packages, twin.files, twin.generated, twin.python) == (1, 3, 2, "3.11.9")
    assert EXPECTED.distributions == {"one-thing": "1.0"}


def test_generated_files_need_not_be_equal(prefix: Path) -> None:
    (prefix / "bin/one").write_bytes(b"#!/elsewhere/bin/python")
    assert look(prefix).differences == ()
    (prefix / "bin/one").unlink()
    assert look(prefix).differences == ("1 file that had to be generated missing: bin/one",)


def test_files_that_are_not_the_packages(prefix: Path) -> None:
    (prefix / SITE / "one/deep.py").write_bytes(b"mine")
    (prefix / SITE / "one/__init__.py").unlink()
    twin = look(prefix)
    assert twin.differences == (
        f"one-thing 1.0: 1 file altered: {SITE}/one/deep.py",
        f"one-thing 1.0: 1 file missing: {SITE}/one/__init__.py",
    )
    assert twin.digest != EXPECTED.digest
    assert twin.files == 2


def test_distributions_that_are_not_the_locks(prefix: Path) -> None:
    (prefix / SITE / "One_thing-1.0.dist-info").rename(prefix / SITE / "One_thing-2.0.dist-info")
    (prefix / SITE / "other-3.0.dist-info").mkdir()
    told = look(prefix).differences
    assert told[:2] == ("one-thing 2.0 is there, and the lock says 1.0", "other 3.0 is there, and not in the lock")


def test_another_python(prefix: Path) -> None:
    assert look(prefix, "3.12.1").differences == ("Python 3.12.1, and the lock is for 3.11",)
    assert look(prefix, "").differences == ("Python unknown, and the lock is for 3.11",)


def test_what_a_notebook_brings_besides(prefix: Path, tmp_path: Path) -> None:
    site = tmp_path / "overlay/site-packages"
    (site / "jupyterlab-4.0.dist-info").mkdir(parents=True)
    twin = look(prefix, "3.11.2", {"jupyterlab": "4.0"}, site)
    assert (twin.differences, twin.beside, twin.packages) == ((), 1, 1)
    assert look(prefix, "3.11.2", None, site).differences == ("jupyterlab 4.0 is there, and not in the lock",)
    again = look(prefix, "3.11.2", {"jupyterlab": "4.0", "one-thing": "0.9"}, site).differences
    assert again == ("one-thing 0.9 comes with the notebook, and the lock has one-thing 1.0",)
