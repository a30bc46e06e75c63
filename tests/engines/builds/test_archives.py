"""Wheels built from source in a real sandbox of bubblewrap, with this machine's Python and an index on loopback."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.builds.place import Place, keep
from tests.simulators.python_index import PythonIndex, make_wheel
from tests.simulators.shipyard import make_sdist, make_zip_sdist, source_files
from wherry.errors import FormatError, LockError, TrustError
from wherry.lock.built_wheels import make_again
from wherry.model.declaration import Requirement
from wherry.model.lock import BuildKind

pytestmark = pytest.mark.engine


def test_an_sdist_is_built_where_no_wheel_is_wanted(place: Place, index: PythonIndex) -> None:
    index.add(make_sdist("hull", "1.0", requires=("rope",)), make_wheel("rope", "1.0"), make_wheel("hull", "2.0"))
    index.add(make_wheel("ship", "1.0", requires=["hull<2"]))
    wheels, builds = place.lock(place.declare("ship"))
    assert [(wheel.name, wheel.version, wheel.requires) for wheel in wheels] == [
        ("hull", "1.0", ("rope",)),
        ("rope", "1.0", ()),
        ("ship", "1.0", ("hull",)),
    ]
    assert [(build.name, build.version, build.kind, build.file, build.tools) for build in builds] == [
        ("hull", "1.0", BuildKind.SDIST, "hull-1.0.tar.gz", ())
    ]
    assert place.fetch(wheels[0]).read("hull/__init__.py") == b"VERSION = '1.0'\n"


def test_every_machine_builds_the_same_bytes(
    tmp_path: Path, place: Place, index: PythonIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "files['hull/order.py'] = repr(list({str(n) for n in range(50)})).encode()\nrequires.append('rope')"
    index.add(make_sdist("hull", "1.0", body), make_wheel("rope", "1.0"))
    here = place.lock(place.declare("hull"))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LANG", "tr_TR.UTF-8")
    former = os.umask(0o077)
    try:
        there = Place(tmp_path / "a long way from there", index)
        there.environment["PYTHONHASHSEED"] = "7"
        assert there.lock(there.declare("hull")) == here
        third = Place(tmp_path / "third", index)
        yard, _ = third.yard(third.declare("hull"))
        assert make_again(yard, here[1][0], here[0][0]).parent.name == here[0][0].sha256.hex
        with pytest.raises(TrustError, match=r"hull 1.0 was built again and is another wheel"):
            make_again(yard, here[1][0], replace(here[0][0], sha256=here[1][0].sha256))
    finally:
        os.umask(former)


def test_versions_taken_back_or_for_other_pythons_are_not_built(place: Place, index: PythonIndex) -> None:
    sdists = [make_sdist("hull", version) for version in ("1.0", "1.1", "1.2", "2.0")]
    marks = {"1.1": 'data-yanked="broken"', "1.2": 'data-requires-python="&gt;=3.99"'}
    index.add(*sdists)
    links = (f'<a href="../../files/{one.file}#sha256={one.sha256}" {marks.get(one.version, "")}>{one.file}</a>' for one in sdists)
    index.extra_pages["/simple/hull/"] = "".join(links).encode()
    assert place.lock(place.declare("hull<2"))[1][0].version == "1.0"


def test_a_zip_is_a_source_archive_too(place: Place, index: PythonIndex) -> None:
    index.add(make_zip_sdist("hull", "1.0"))
    wheels, builds = place.lock(place.declare("hull"))
    assert (builds[0].file, wheels[0].file) == ("hull-1.0.zip", "hull-1.0-py3-none-any.whl")


def test_tools_are_locked_and_kept(tmp_path: Path, place: Place, index: PythonIndex) -> None:
    files = source_files("hull", "1.0", "import plane\nfiles['hull/plane.py'] = plane.VERSION.encode()")
    asks = "\ndef get_requires_for_build_wheel(settings=None):\n    return ['plane']\n"
    files |= {"backend.py": files["backend.py"] + asks}
    index.add(make_sdist("hull", "1.0", files=files), make_wheel("plane", "1.0"))
    first = place.lock(place.declare("hull"))
    assert [(tool.name, tool.version) for tool in first[1][0].tools] == [("plane", "1.0")]
    index.add(make_wheel("plane", "2.0"))
    said = len(place.said)
    assert place.lock(place.declare("hull"), keep(first)) == first
    there = Place(tmp_path / "there", index)
    assert there.lock(there.declare("hull"), keep(first)) == first, "built again with the locked tools"
    assert len(place.said) == said
    assert there.said == ["building hull 1.0 again, in a sandbox without network"]


def test_what_the_sandbox_shows(place: Place, index: PythonIndex, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    body = f"""
import socket, json
seen = {{"env": sorted(os.environ), "host": socket.gethostname(), "user": os.getuid(), "umask": os.umask(0o022)}}
seen["links"] = socket.if_nameindex()
try:
    socket.create_connection(("127.0.0.1", {index.url.rpartition(":")[2].split("/")[0]}), 2)
    seen["network"] = True
except OSError:
    seen["network"] = False
seen["times"] = sorted({{int(path.stat().st_mtime) for path in Path(".").rglob("*.py")}})
for place in ("/usr", "/opt/env", "/"):
    try:
        Path(place, "mark").write_text("x")
        seen["wrote"] = place
    except OSError:
        pass
seen["processes"] = sum(name.isdigit() for name in os.listdir("/proc"))
files["hull/seen.json"] = json.dumps(seen, sort_keys=True).encode()
"""
    index.add(make_sdist("hull", "1.0", body))
    wheels, _ = place.lock(place.declare("hull"))
    seen = json.loads(place.fetch(wheels[0]).read("hull/seen.json"))
    assert seen["network"] is False
    assert [name for _, name in seen["links"]] == ["lo"]
    assert (seen["host"], seen["user"], seen["umask"]) == ("build", 1000, 0o022)
    assert seen["times"] == [315532800]
    assert "wrote" not in seen
    assert seen["processes"] <= 3
    assert set(seen["env"]) >= {"SOURCE_DATE_EPOCH", "PYTHONHASHSEED"}
    assert "UV_DEFAULT_INDEX" not in seen["env"]


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("files['hull/now.py'] = str(time.time_ns()).encode()", LockError, "does not build to the same wheel twice: hull/now.py"),
        ("tag = 'cp311-cp311-linux_x86_64'", LockError, "hull cannot be built here: .* for some platforms only"),
        (
            "raise FileNotFoundError(2, 'No such file or directory', 'cc')",
            LockError,
            "hull cannot be built here: it needs a compiler",
        ),
        ("raise SystemExit('no such thing')", LockError, "building hull failed"),
        ("bytearray(5 << 30)", LockError, "building hull failed .*\n(?:.*\n)*.*MemoryError"),
        ("open('big', 'wb').truncate(2 << 30)", LockError, "building hull failed .*\n(?:.*\n)*.*File too large"),
        ("name = 'mast'", LockError, "builds mast, not hull"),
        (
            "os.symlink('/etc/passwd', os.path.join(folder, 'answer.json')); os._exit(0)",
            FormatError,
            "the build wrote no answer.json",
        ),
        ("os.mkfifo(folder + '/answer.json'); os._exit(0)", FormatError, "is no file of at most"),
        ("files['../../evil.py'] = b''", FormatError, "not a sound wheel|leaves the wheel"),
        ("os._exit(0)", FormatError, "the build wrote no answer.json"),
    ],
)
def test_what_is_refused(place: Place, index: PythonIndex, body: str, error: type[Exception], said: str) -> None:
    index.add(make_sdist("hull", "1.0", body))
    with pytest.raises(error, match=said):
        place.lock(place.declare("hull"))
    assert not list((place.folder / "cache" / "building").iterdir())


@pytest.mark.parametrize(("name", "known"), [("pyodbc", "pyodbc"), ("tables", "pytables"), ("hull", None)])
def test_what_wants_a_compiler_is_named_as_conda_names_it(place: Place, index: PythonIndex, name: str, known: str | None) -> None:
    index.add(make_sdist(name, "1.0", "raise FileNotFoundError(2, 'No such file or directory', 'cc')"))
    with pytest.raises(LockError, match=rf"{name} cannot be built here: it needs a compiler") as caught:
        place.lock(place.declare(name, allow=(name,)))
    assert (f"conda-forge's package {known} " in (caught.value.hint or "")) == (known is not None)


def test_a_build_without_end_is_ended(place: Place, index: PythonIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.lock.build_sandbox._TIMEOUT", 2.0)
    index.add(make_sdist("hull", "1.0", "print('x' * 100_000, flush=True)\nwhile True: pass"))
    with pytest.raises(LockError, match=r"took more than 2 s and was ended"):
        place.lock(place.declare("hull"))


def test_a_build_that_fills_the_disk_is_ended(place: Place, index: PythonIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.lock.build_sandbox._ROOM", 8 << 20)
    body = "for n in range(20): open(str(n), 'wb').write(bytes(1 << 20))\nwhile True: time.sleep(1)"
    index.add(make_sdist("hull", "1.0", body))
    with pytest.raises(LockError, match=r"wrote more than 8 MiB and was ended"):
        place.lock(place.declare("hull"))
    assert not list((place.folder / "cache" / "building").iterdir())


def test_a_tool_that_has_no_wheel_is_named(place: Place, index: PythonIndex) -> None:
    files = {"pyproject.toml": '[build-system]\nrequires = ["plane"]\nbuild-backend = "plane"\n'}
    index.add(make_sdist("hull", "1.0", files=files), make_sdist("plane", "1.0"))
    with pytest.raises(LockError, match=r"hull cannot be built: plane has no wheel at all"):
        place.lock(place.declare("hull"))


def test_digests_given_for_the_source(place: Place, index: PythonIndex) -> None:
    sdist, rope = make_sdist("hull", "1.0", requires=("rope",)), make_wheel("rope", "1.0")
    index.add(sdist, rope)
    pinned = [
        Requirement(text="hull==1.0", name="hull", hashes=(f"sha256:{sdist.sha256}",)),
        Requirement(text="rope", name="rope", hashes=(f"sha256:{rope.sha256}",)),
    ]
    assert len(place.lock(place.declare(*pinned))[0]) == 2
    pinned[0] = replace(pinned[0], hashes=(f"sha256:{rope.sha256}",))
    with pytest.raises(LockError, match=r"none of the digests given for hull is of hull-1.0.tar.gz"):
        place.lock(place.declare(*pinned))


def test_several_packages_without_wheels(place: Place, index: PythonIndex) -> None:
    index.add(make_sdist("hull", "1.0", requires=("deep_keel",)), make_sdist("mast", "1.0"), make_wheel("sail", "1.0"))
    index.add(make_sdist("deep_keel", "1.0"), make_sdist("sail", "2.0"))
    allow = ("deep-keel", "hull", "mast", "sail")
    _, builds = place.lock(place.declare("hull", "mast", "sail", allow=allow))
    assert [(build.name, build.version) for build in builds] == [("deep-keel", "1.0"), ("hull", "1.0"), ("mast", "1.0")]
    with pytest.raises(LockError, match="deep-keel has no wheel at all") as caught:
        place.lock(place.declare("hull", "mast", "sail", allow=("hull", "mast")))
    assert 'allow-build = ["deep-keel"]' in str(caught.value)


def test_an_archive_in_a_folder(place: Place) -> None:
    (place.root / "vendor").mkdir()
    sdist = make_sdist("hull", "1.0")
    (place.root / "vendor" / sdist.file).write_bytes(sdist.data)
    place.environment["UV_FIND_LINKS"] = str(place.root / "vendor")
    assert place.lock(place.declare("hull"))[1][0].sha256.hex == sdist.sha256


def test_compiled_tools_are_for_one_kind_of_machine(place: Place, index: PythonIndex) -> None:
    index.add(make_sdist("hull", "1.0"))
    asked = place.declare("hull")
    (wheel,), (build,) = place.lock(asked)
    tool = replace(wheel, name="plane", file="plane-1.0-py3-none-manylinux_2_17_s390x.whl")
    with pytest.raises(LockError, match=r"hull is built with plane, which was locked for another kind of machine"):
        make_again(place.yard(asked)[0], replace(build, tools=(tool,)), wheel)


def test_a_former_build_stays_until_it_no_longer_fits(place: Place, index: PythonIndex) -> None:
    index.add(make_sdist("hull", "1.0"))
    first = place.lock(place.declare("hull"))
    index.add(make_sdist("hull", "1.1"), make_sdist("hull", "2.0"))
    assert place.lock(place.declare("hull"), keep(first)) == first
    assert place.lock(place.declare("hull>=1.1,<2"), keep(first))[1][0].version == "1.1"
    assert place.lock(place.declare("hull"), keep(first), upgrade_packages=frozenset({"hull"}))[1][0].version == "2.0"
