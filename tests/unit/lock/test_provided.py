"""The pip section beside conda: what conda brings stands, what the author names otherwise wins, and uv asks no index for it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from tests.unit.lock.conda_projects import AMD64
from tests.unit.lock.test_resolution import declare
from wherry.errors import LockError
from wherry.lock.conda_names import keep_distributions, list_distributions, name_distributions, note_distributions
from wherry.lock.provided import (
    Provided,
    constrain_to_provided,
    divide_provided,
    is_stand_in,
    keep_besides,
    without_provided,
)
from wherry.lock.target import WheelTarget
from wherry.model.conda_package import CondaPackage, PackagedPath
from wherry.model.declaration import Requirement, SourceOrigin
from wherry.model.digest import Digest
from wherry.model.lock import BuildKind, LockedInterpreter, LockedRecord, LockedWheel, PlatformLock

TARGET = WheelTarget(platform=AMD64, glibc=(2, 36), python="3.12.1")
CONDA = {"numpy": "2.1.0", "uvicorn": "0.30.1"}


def record(name: str, version: str = "1.0", *, python: bool = True, provides: tuple[str, ...] | None = None) -> LockedRecord:
    return LockedRecord(
        name=name,
        version=version,
        build="0",
        subdir="linux-64",
        channel="conda-forge",
        file=f"{name}-{version}-0.conda",
        size=1,
        sha256=Digest.of(name.encode()),
        requires=("python",) if python else (),
        provides=provides,
    )


def wheel(name: str, *requires: str) -> LockedWheel:
    file = f"{name}-1.0-py3-none-any.whl"
    return LockedWheel(name=name, version="1.0", file=file, size=1, sha256=Digest.of(name.encode()), requires=requires)


def ask(*lines: str) -> tuple[Requirement, ...]:
    def name_of(line: str) -> str:
        for sign in "[<>=!~ ;@":
            line = line.partition(sign)[0]
        return line

    return tuple(Requirement(text=line, name=name_of(line), where=f"environment.yml:{n}") for n, line in enumerate(lines, 9))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (record("numpy"), ("numpy",)),
        (record("ruamel.yaml"), ("ruamel-yaml",)),
        (record("typing_extensions"), ("typing-extensions",)),
        (record("pytorch"), ("torch",)),
        (record("py-opencv"), ("opencv-python", "opencv-python-headless")),
        (record("pytorch-gpu"), ()),
        (record("openssl", python=False), ()),
        (record("python"), ()),
        (record("python_abi"), ()),
        (record("odd-name", provides=("even-name",)), ("even-name",)),
        (record("data-only", provides=()), ()),
    ],
)
def test_which_distributions_a_record_brings(given: LockedRecord, names: tuple[str, ...]) -> None:
    assert name_distributions(given) == names


def test_versions_are_pythons_or_count_not() -> None:
    found = list_distributions(
        [record("pytz", "2024a"), record("numpy", "2.1.0rc1"), record("jpeg", "9e", python=False), record("x", "1_x")]
    )
    assert found == {"pytz": "2024a0", "numpy": "2.1.0rc1"}


def test_archives_tell_what_they_bring() -> None:
    def look(given: LockedRecord, *paths: str) -> LockedRecord:
        package = CondaPackage(
            name=given.name,
            version="1.0",
            build="0",
            subdir="linux-64",
            noarch="",
            depends=(),
            paths=tuple(PackagedPath(path=path) for path in paths),
            entry_points=(),
            scripts=(),
            activation=(),
        )
        return note_distributions(given, package)

    metadata = "lib/python3.12/site-packages/{}-1.0.dist-info/METADATA"
    assert look(record("numpy"), metadata.format("numpy")).provides is None
    assert look(record("numpy", provides=("other",)), metadata.format("numpy")).provides is None
    assert look(record("odd"), metadata.format("Even_Name"), "site-packages/old-2-py3.9.egg-info/PKG-INFO").provides == (
        "even-name",
        "old",
    )
    assert look(record("six"), "site-packages/six.py").provides == ()
    assert look(record("six"), "share/x-1.0.dist-info/METADATA").provides == ()
    kept = keep_distributions([record("odd", "2.0"), record("numpy")], [record("odd", provides=("even-name",))])
    assert [one.provides for one in kept] == [("even-name",), None]


def test_what_the_author_allows_stands() -> None:
    provided = divide_provided(CONDA, ask("numpy>=2", "uvicorn[standard]", "attrs", 'numpy<1; python_version < "3"'), TARGET)
    assert provided == Provided(stand=CONDA, extras=frozenset({"uvicorn"}))


@pytest.mark.parametrize("line", ["numpy<2", "numpy==2.1.1", "NumPy @ https://host/numpy-2.1.0-py3-none-any.whl"])
def test_what_the_author_names_otherwise_wins_and_is_told(line: str) -> None:
    provided = divide_provided(CONDA, ask("attrs", line), TARGET)
    assert set(provided.stand) == {"uvicorn"}
    (note,) = provided.replaced
    assert note.startswith(f"environment.yml:10: {line} is not conda's numpy 2.1.0")


def test_what_is_to_be_built_wins() -> None:
    source = SourceOrigin(kind=BuildKind.FOLDER, folder="libs/numpy")
    built = Requirement(text="numpy", name="numpy", where="environment.yml:9", source=source)
    assert "numpy" not in divide_provided(CONDA, (built,), TARGET).stand


def test_uv_gets_empty_wheels_that_leave_no_trace(tmp_path: Path) -> None:
    declaration = declare(tmp_path, "attrs")
    provided = Provided(stand=CONDA, extras=frozenset({"uvicorn"}))
    with constrain_to_provided(declaration, provided) as standing:
        stand_in, exact = standing.environment.constraints
        assert exact.text == "uvicorn==0.30.1"
        path = Path(stand_in.text.partition("@ file://")[2])
        name, version, build, _ = parse_wheel_filename(path.name)
        assert (name, str(version), bool(build)) == ("numpy", "2.1.0", True)
        assert is_stand_in(path.name)
        assert "numpy-2.1.0.dist-info/METADATA" in zipfile.ZipFile(path).namelist()
    assert not path.exists()
    with constrain_to_provided(declaration, Provided(stand={})) as standing:
        assert standing is declaration


def test_a_conflict_says_what_is_condas(tmp_path: Path) -> None:
    what = "the requirements cannot be met together:\n  Because only numpy<3 is available and you require numpy>=3"
    with pytest.raises(LockError) as caught, constrain_to_provided(declare(tmp_path), Provided(stand=CONDA)):
        raise LockError(what)
    assert caught.value.what.endswith("where conda brings numpy 2.1.0")
    assert "below pip:" in (caught.value.hint or "")
    with pytest.raises(LockError, match=r"^something else$"), constrain_to_provided(declare(tmp_path), Provided(stand=CONDA)):
        raise LockError("something else")


def test_wheels_besides() -> None:
    provided = Provided(stand=CONDA)
    wheels = (wheel("attrs", "numpy"), wheel("numpy"))
    assert without_provided(wheels, provided) == (wheel("attrs"),)
    interpreter = LockedInterpreter(source="conda", version="3.12.1", path="/opt/conda/bin/python3.12")
    former = PlatformLock(platform=AMD64, base=None, interpreter=interpreter, debs=(), wheels=wheels, layers=())
    kept = keep_besides(former, provided)
    assert kept is not None
    assert [one.name for one in kept.wheels] == ["attrs"]
    assert keep_besides(None, provided) is None
