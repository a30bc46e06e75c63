"""`wherry check` as a person types it: of the store, of an archive, of a registry, of folders and wheels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.simulators.bases import publish_base, publish_layers, tar_of
from tests.simulators.registry import RegistrySimulator
from tests.simulators.wheels import make_wheel
from tests.unit.check.trees import Files, distribution, module, system
from tests.unit.formats.elves import make_elf
from tests.unit.store.tiny import pack
from wherry.check.rules import RULES
from wherry.cli.check import register
from wherry.errors import CheckError, DeclarationError, FormatError, StoreError, TrustError, UsageError
from wherry.formats.oci_json import render_config, render_manifest
from wherry.model.digest import DiffId
from wherry.model.oci import CONFIG, LAYER_GZIP, MANIFEST, Descriptor
from wherry.model.platform import Platform
from wherry.store.archive import stream_image
from wherry.store.disk import DiskStore
from wherry.store.places import cache_path, store_path

AMD64 = Platform("linux", "amd64")
BROKEN = distribution("cv", "4.1", {"cv2/cv2.abi3.so": module("cv2", "libGL.so.1")}, "cp311-abi3-manylinux_2_17_x86_64")
PLUGIN = distribution("cv", "4.1", {"cv2/cv2.abi3.so": module("cv2"), "cv2/libqx.so": make_elf(["libX11.so.6"])})


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def check(app: typer.Typer, *words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["check", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def rules_of(output: str) -> list[str]:
    (report,) = json.loads(output)["reports"]
    return [finding["rule"] for finding in report["findings"]]


def store_image(*layers: Files, name: str = "tiny:latest", env: tuple[str, ...] = ()) -> Descriptor:
    store = DiskStore(store_path(os.environ))
    blobs, diff_ids = [], []
    for files in layers:
        tar = tar_of(files)
        blob = pack(tar, "gzip")
        blobs.append(Descriptor(media_type=LAYER_GZIP, digest=store.put_bytes(blob), size=len(blob)))
        diff_ids.append(DiffId(hashlib.sha256(tar).hexdigest()))
    config = render_config(platform=AMD64, created="2020-01-01T00:00:00Z", diff_ids=diff_ids, env=list(env), user="10001")
    named = Descriptor(media_type=CONFIG, digest=store.put_bytes(config), size=len(config))
    raw = render_manifest(config=named, layers=blobs)
    descriptor = Descriptor(media_type=MANIFEST, digest=store.put_bytes(raw), size=len(raw))
    store.tag(name, descriptor)
    return descriptor


def test_a_sound_image(app: typer.Typer) -> None:
    store_image(system())
    output = check(app, "tiny")
    assert "tiny  linux/amd64: 0 modules and 2 libraries of 1 distributions" in output
    assert "nothing found" in output


def test_errors_end_with_their_own_code(app: typer.Typer) -> None:
    store_image(system(), BROKEN)
    output = check(app, "tiny", code=CheckError.exit_code)
    assert "error   missing-library    libGL.so.1 is not there: import cv2 fails [cv 4.1]" in output
    assert "1 error" in output


def test_warnings_count_when_asked_to(app: typer.Typer) -> None:
    store_image(system(), PLUGIN)
    assert "1 warning" in check(app, "tiny")
    check(app, "tiny", "--strict", code=CheckError.exit_code)


def test_many_warnings_of_one_package_are_told_in_few_lines(app: typer.Typer) -> None:
    plugins = {f"qt/plugin{number}.so": make_elf([f"libnone{number}.so"]) for number in range(9)}
    store_image(system(), distribution("qt", "6", {"qt/_c.abi3.so": module("_c"), **plugins}))
    output = check(app, "tiny")
    assert output.count("warning missing-library    libnone") == 4
    assert "warning missing-library    5 more like these [qt 6]" in output
    assert "9 warnings" in output
    (report,) = json.loads(check(app, "tiny", "--json"))["reports"]
    assert len(report["findings"]) == 9


def test_the_document_for_programs(app: typer.Typer) -> None:
    store_image(system(), BROKEN)
    document: dict[str, Any] = json.loads(check(app, "tiny", "--json", code=CheckError.exit_code))
    assert document["schema"] == 1
    (report,) = document["reports"]
    assert report["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert report["platform"] == "linux/amd64"
    (finding,) = report["findings"]
    assert finding["rule"] == "missing-library"
    assert finding["owner"] == "cv 4.1"
    assert finding["where"] == ["/opt/env/lib/python3.11/site-packages/cv2/cv2.abi3.so"]


def test_a_cache_that_cannot_be_written_stops_nothing(app: typer.Typer) -> None:
    store_image(system(), BROKEN)
    cache_path(os.environ).parent.mkdir(parents=True, exist_ok=True)
    cache_path(os.environ).write_bytes(b"no folder")
    for more in ((), ("--files",)):
        assert "import cv2 fails" in check(app, "tiny", "--offline", *more, code=CheckError.exit_code)


def test_known_layers_are_not_read_again(app: typer.Typer) -> None:
    descriptor = store_image(system(), BROKEN)
    first = check(app, "tiny", "--json", code=CheckError.exit_code)
    store = DiskStore(store_path(os.environ))
    for blob in store.root.glob("blobs/sha256/*"):
        if blob.name != descriptor.digest.hex and not blob.read_bytes().startswith(b"{"):
            blob.unlink()
    assert check(app, "tiny", "--json", code=CheckError.exit_code) == first
    for facts in cache_path(os.environ).rglob("facts-*/*"):
        facts.write_bytes(b"{")
    with pytest.raises(StoreError):
        check(app, "tiny")


def test_an_archive_leaves_nothing_in_the_store(app: typer.Typer, tmp_path: Path) -> None:
    store = DiskStore(store_path(os.environ))
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"".join(stream_image(store, store_image(system(), BROKEN), name="other:1")))
    store.untag("tiny:latest")
    before = sorted(store.root.rglob("*"))
    output = check(app, archive, code=CheckError.exit_code)
    assert output.startswith("docker.io/library/other:1  linux/amd64") or output.startswith("other:1  linux/amd64")
    assert sorted(store.root.rglob("*")) == before


def test_a_damaged_archive_is_refused(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(FormatError):
        check(app, tmp_path / "a.tar")


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


def test_a_registrys_image_is_fetched_layer_by_layer_and_not_kept(app: typer.Typer, registry: RegistrySimulator) -> None:
    name = publish_base(registry, "team/broken", "1", {AMD64: [system(), BROKEN]})
    output = check(app, name, "--platform", "linux/amd64", "--json", code=CheckError.exit_code)
    assert rules_of(output) == ["missing-library", "root-user"]
    assert not store_path(os.environ).exists() or not list(store_path(os.environ).rglob("blobs/sha256/*"))


def test_a_layer_that_is_not_what_its_image_says(app: typer.Typer, registry: RegistrySimulator) -> None:
    name = publish_layers(registry, "team/lies", "1", [(f"sha256:{'0' * 64}", pack(tar_of(system()), "gzip"))])
    with pytest.raises(TrustError):
        check(app, name, "--platform", "linux/amd64")
    assert not list(cache_path(os.environ).rglob("facts-*/*"))


def test_an_environment_of_this_machine(app: typer.Typer, tmp_path: Path) -> None:
    site = tmp_path / "venv/lib/python3.11/site-packages"
    for path, content in {**system(), **BROKEN}.items():
        if path.startswith("opt/env/lib") and isinstance(content, bytes):
            file = site / path.partition("site-packages/")[2]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python3.11").write_bytes(make_elf(interpreter="/lib64/ld.so"))
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (site / "cv2/cv2.abi3.so").write_bytes(make_elf(["libsurely-nowhere.so.7"], exports=["PyInit_cv2"]))
    output = check(app, tmp_path / "venv", "--json", code=CheckError.exit_code)
    assert "libsurely-nowhere.so.7" in output
    assert rules_of(output) == ["missing-library"]


def test_the_root_of_an_image_that_lies_in_a_folder(app: typer.Typer, tmp_path: Path) -> None:
    for path, content in {**system(), **BROKEN}.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.symlink_to(content.link)
    (tmp_path / "etc").mkdir()
    assert rules_of(check(app, tmp_path, "--json", code=CheckError.exit_code)) == ["missing-library"]


def test_without_a_subject_the_projects_image(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cupboard").mkdir()
    (tmp_path / "cupboard/requirements.txt").write_text("six\n")
    monkeypatch.chdir(tmp_path / "cupboard")
    with pytest.raises(StoreError):
        check(app)
    store_image(system(), name="cupboard:latest")
    assert "cupboard  linux/amd64" in check(app)


def test_a_platform_that_the_image_is_not_for(app: typer.Typer) -> None:
    store_image(system())
    with pytest.raises(StoreError, match="not for linux/arm64, but for linux/amd64"):
        check(app, "tiny", "--platform", "linux/arm64")


def test_findings_that_were_seen_and_accepted(app: typer.Typer) -> None:
    store_image(system(), BROKEN)
    assert "nothing found (1 ignored)" in check(app, "tiny", "--ignore", "missing-library:libGL.so.1")
    assert "nothing found (1 ignored)" in check(app, "tiny", "--ignore", "root-user", "--ignore", "missing-library")
    assert "1 error" in check(app, "tiny", "--ignore", "missing-library:libother.so", code=CheckError.exit_code)
    with pytest.raises(UsageError, match="no rule"):
        check(app, "tiny", "--ignore", "mising-library")


def test_every_rule_explains_itself(app: typer.Typer) -> None:
    for rule in RULES:
        assert len(check(app, "--explain", rule)) > len(rule) + 60
    with pytest.raises(UsageError, match="no rule"):
        check(app, "--explain", "no-such-rule")


MANYLINUX = "cp311-cp311-manylinux_2_17_x86_64"


def wheel_findings(
    app: typer.Typer, tmp_path: Path, files: dict[str, bytes], tag: str, code: int = 0
) -> list[tuple[str, str, str]]:
    wheel = make_wheel(tmp_path, "pkg", "1.0", files, tag=tag)
    (report,) = json.loads(check(app, wheel, "--json", code=code))["reports"]
    return [(one["rule"], one["severity"], one["subject"]) for one in report["findings"]]


def test_a_wheel_tells_what_it_leaves_to_the_system(app: typer.Typer, tmp_path: Path) -> None:
    files = {
        "pkg/_c.abi3.so": module("_c", "libown-1.so", "libGL.so.1", "libstdc++.so.6", "libcuda.so.1", rpath="$ORIGIN/../pkg.libs"),
        "pkg.libs/libown-1.so": make_elf(),
    }
    assert wheel_findings(app, tmp_path, files, MANYLINUX) == [
        ("system-library", "warning", "libGL.so.1"),
        ("driver-library", "note", "libcuda.so.1"),
        ("system-library", "note", "libstdc++.so.6"),
    ]


@pytest.mark.parametrize(
    ("file", "content", "rule"),
    [
        ("pkg/_c.abi3.so", module("_c", architecture="arm64"), "wrong-architecture"),
        ("pkg/_c.abi3.so", module("_c", needs={"libc.so.6": ["GLIBC_2.17", "GLIBC_2.28"]}), "symbol-version"),
        ("pkg/_c.cpython-310-x86_64-linux-gnu.so", module("_c"), "wrong-python"),
        ("pkg/_c.cpython-311-x86_64-linux-musl.so", module("_c"), "wrong-libc"),
        ("pkg/_c.abi3.so", module("_c")[:200], "damaged-library"),
    ],
)
def test_a_wheel_whose_name_promises_too_much(app: typer.Typer, tmp_path: Path, file: str, content: bytes, rule: str) -> None:
    found = wheel_findings(app, tmp_path, {file: content}, MANYLINUX, code=CheckError.exit_code)
    assert [(name, severity) for name, severity, _ in found] == [(rule, "error")]


def test_a_wheel_that_is_not_what_its_record_says(app: typer.Typer, tmp_path: Path) -> None:
    files = {"pkg/__init__.py": b"x = 1", "pkg/more.py": b""}
    assert wheel_findings(app, tmp_path, files, "py3-none-any") == []
    lies = {"pkg/__init__.py": "sha256=AAAA,5", "pkg/more.py": "absent", "pkg/gone.py": "sha256=AAAA,5"}
    wheel = make_wheel(tmp_path, "pkg", "1.0", files, record=lies)
    (report,) = json.loads(check(app, wheel, "--json", code=CheckError.exit_code))["reports"]
    assert [(one["rule"], one["where"][0].rpartition("/")[2]) for one in report["findings"]] == [
        ("altered-file", "__init__.py"),
        ("missing-file", "gone.py"),
        ("extra-file", "more.py"),
    ]


def test_what_is_no_wheel_is_refused(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(b"")
    (tmp_path / "x-1-py3-none-any.whl").write_bytes(b"PK no")
    for name in ("x.whl", "x-1-py3-none-any.whl"):
        with pytest.raises(FormatError):
            check(app, tmp_path / name)


def test_options_that_have_no_meaning_for_a_subject(app: typer.Typer, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    for words in ((wheel, "--fix"), ("tiny", "--fix")):
        with pytest.raises(UsageError):
            check(app, *words)


def test_every_file_of_an_image(app: typer.Typer) -> None:
    files = distribution("own", "1", {"own.py": b"x = 1"})
    record = next(path for path in files if path.endswith("own-1.dist-info/RECORD"))
    untrue = {**files, record: b"own.py,sha256=AAAA,5\nown-1.dist-info/RECORD,,\n"}
    store_image({path: content for path, content in system().items() if "six" not in path}, untrue)
    assert "altered-file" not in check(app, "tiny")
    for _ in range(2):  # the second time out of the cache
        assert "altered-file" in check(app, "tiny", "--files", code=CheckError.exit_code)


def test_a_wheel_with_a_damaged_member_is_refused(app: typer.Typer, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "pkg", "1.0", {"pkg/_c.abi3.so": module("_c") * 40}, tag=MANYLINUX)
    data = bytearray(wheel.read_bytes())
    data[60:90] = bytes(30)
    wheel.write_bytes(bytes(data))
    with pytest.raises(FormatError):
        check(app, wheel)


def test_sizes_are_held_against_what_is_allowed(app: typer.Typer) -> None:
    heavy = distribution("heavy", "1", {"heavy.py": os.urandom(40_000), "heavy/tests/data": os.urandom(60_000)})
    store_image(system(), heavy)
    check(app, "tiny", "--size-budget", "10MB", "--max-layer", "10 MB")
    output = check(app, "tiny", "--size-budget", "50kB", "--slim", code=CheckError.exit_code)
    assert "most of it: heavy 1 10" in output
    assert "what could go, and what that saves\n  tests of packages  1 files  60.0 kB on disk" in output
    assert rules_of(check(app, "tiny", "--max-layer", "50 kB", "--json", code=CheckError.exit_code)) == ["max-layer"]
    with pytest.raises(UsageError, match="'much' is no size"):
        check(app, "tiny", "--max-layer", "much")


def test_a_project_accepts_findings_with_a_reason(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "tiny"
    project.mkdir()
    monkeypatch.chdir(project)
    (project / "requirements.txt").write_text("six\n")
    settings = '[[check.ignore]]\nrule = "missing-library"\nwhere = "libGL*"\nreason = "the device has it"\n'
    (project / "wherry.toml").write_text(f'name = "tiny"\n[check]\nsize-budget = 10\n{settings}')
    store_image(system(), BROKEN)
    assert "1 error (1 silenced)" in check(app, code=CheckError.exit_code)
    output = check(app, "--size-budget", "1GB", "--verbose")
    assert "  silent  missing-library    libGL.so.1" in output
    assert "why: the device has it" in output
    (report,) = json.loads(check(app, ".", "--max-layer", "1GB", "--size-budget", "1GB", "--json"))["reports"]
    (silenced,) = report["silenced"]
    assert silenced["silence"] == {"rule": "missing-library", "where": "libGL*", "reason": "the device has it"}
    assert silenced["subject"] == "libGL.so.1"
    assert report["findings"] == []
    assert "1 error" in check(app, "tiny", code=CheckError.exit_code), "another subject has no settings"


def test_a_silence_that_is_not_needed_is_told(app: typer.Typer, tmp_path: Path) -> None:
    project = tmp_path / "tiny"
    project.mkdir()
    (project / "requirements.txt").write_text("six\n")
    store_image(system())
    (project / "wherry.toml").write_text('[[check.ignore]]\nrule = "setuid"\nwhere = "/x"\nreason = "so"\n')
    done = CliRunner().invoke(app, ["check", str(project), "--json"], catch_exceptions=False)
    assert "wherry.toml silences setuid in /x, and there is no such finding" in done.stderr
    assert json.loads(done.stdout)["needless_silences"] == [{"rule": "setuid", "where": "/x", "reason": "so"}]
    (project / "wherry.toml").write_text('[[check.ignore]]\nrule = "set-uid"\nreason = "so"\n')
    with pytest.raises(DeclarationError, match="no rule"):
        check(app, project)
