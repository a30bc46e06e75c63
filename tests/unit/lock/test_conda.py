"""What is asked of conda's channels becomes exact records: for the target, from the right channel, and what was locked stays."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tools.conda_channel.server import serve_channel

from tests.unit.lock.conda_projects import AMD64, ARM64, ask, locked, make_channel, open_channels, package, solve, titles
from wherry.errors import DeclarationError, FormatError, LockError, TransferError, TrustError
from wherry.formats.lockfile import render_lock
from wherry.lock.conda import CondaTarget, lock_records
from wherry.lock.wheels import LockOptions
from wherry.model.declaration import ChannelPriority, CondaSpec
from wherry.model.digest import Digest
from wherry.model.lock import Lock, LockedRecord

PYTHONS = (package("python 3.11.2"), package("python 3.12.1"))
NUMPY = (
    package("numpy 1.26.0 py311_0", "python 3.11.*", "libblas"),
    package("numpy 2.0.0 py311_0", "python 3.11.*", "libblas >=3.9"),
    package("numpy 2.0.0 py312_0", "python 3.12.*", "libblas >=3.9"),
)
OTHERS = (package("libblas 3.9"), package("six 1.16.0", "python", noarch="python"), package("tzdata 2024a", noarch="generic"))


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_channel(tmp_path_factory.mktemp("channels") / "forge", *PYTHONS, *NUMPY, *OTHERS)


def only(records: tuple[LockedRecord, ...], name: str) -> LockedRecord:
    return next(record for record in records if record.name == name)


def test_a_record_says_what_it_is(forge: Path, tmp_path: Path) -> None:
    records = solve(ask("python=3.11", "NumPy >=1.26,<2", "six", channels=(forge,)), tmp_path)
    archive = forge / "linux-64" / "numpy-1.26.0-py311_0.conda"
    assert titles(records) == ["libblas 3.9", "numpy 1.26.0", "python 3.11.2", "six 1.16.0"]
    numpy = only(records, "numpy")
    assert (numpy.build, numpy.subdir, numpy.channel, numpy.file) == ("py311_0", "linux-64", "forge", archive.name)
    assert (numpy.size, numpy.sha256.hex) == (archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest())
    assert numpy.requires == ("libblas", "python")
    assert [record.name for record in records if record.requested] == ["numpy", "python", "six"]
    assert (only(records, "six").noarch_python, only(records, "six").subdir) == (True, "noarch")
    assert not numpy.noarch_python


def test_there_is_always_a_python(forge: Path, tmp_path: Path) -> None:
    records = solve(ask("tzdata", channels=(forge,)), tmp_path)
    assert titles(records) == ["python 3.12.1", "tzdata 2024a"]
    assert not only(records, "python").requested


def test_specs_for_other_platforms_do_not_count(forge: Path, tmp_path: Path) -> None:
    windows = CondaSpec(text="pywin32", name="pywin32", subdirs=("win-64",))
    arm = CondaSpec(text="tzdata", name="tzdata", subdirs=("linux-aarch64",))
    assert "tzdata 2024a" not in titles(solve(ask("six", windows, arm, channels=(forge,)), tmp_path))
    assert "tzdata 2024a" in titles(solve(ask("six", windows, arm, channels=(forge,)), tmp_path, ARM64))


def test_the_order_of_specs_and_the_cache_do_not_matter(forge: Path, tmp_path: Path) -> None:
    first = solve(ask("six", "numpy", "tzdata", channels=(forge,)), tmp_path / "a")
    assert solve(ask("tzdata", "six", "numpy", channels=(forge,)), tmp_path / "b") == first


def test_what_was_locked_stays_until_it_is_upgraded(forge: Path, tmp_path: Path) -> None:
    request = ask("numpy", "six", channels=(forge,))
    old = locked(solve(ask("numpy <2", "six", channels=(forge,)), tmp_path))
    assert solve(request, tmp_path, keep=old) == old.records
    assert only(solve(request, tmp_path, keep=old, upgrade=True), "numpy").version == "2.0.0"
    moved = solve(request, tmp_path, keep=old, upgrade_packages=frozenset({"numpy"}))
    assert (only(moved, "numpy").version, only(moved, "python").version) == ("2.0.0", "3.11.2")


def test_a_record_that_the_index_has_no_more_gives_way(forge: Path, tmp_path: Path) -> None:
    old = locked(solve(ask("numpy <2", channels=(forge,)), tmp_path))
    gone = replace(only(old.records, "numpy"), version="1.25.0", file="numpy-1.25.0-py311_0.conda")
    kept = replace(old, records=tuple(gone if record.name == "numpy" else record for record in old.records))
    assert "numpy 2.0.0" in titles(solve(ask("numpy", channels=(forge,)), tmp_path, keep=kept))


def test_a_new_platform_starts_from_the_versions_of_another(forge: Path, tmp_path: Path) -> None:
    old = locked(solve(ask("numpy <2", channels=(forge,)), tmp_path))
    arm = solve(ask("numpy", channels=(forge,)), tmp_path, ARM64, keep=old)
    assert titles(arm) == titles(old.records)
    assert {record.subdir for record in arm} == {"linux-aarch64"}


def test_a_new_platform_that_lacks_a_version_takes_another(tmp_path: Path) -> None:
    channel = make_channel(tmp_path / "forge", *PYTHONS, package("tool 2.0", "python"))
    make_channel(channel, package("tool 1.0", "python"), subdirs=("linux-64",))
    old = locked(solve(ask("tool <2", "python <3.12", channels=(channel,)), tmp_path))
    assert titles(solve(ask("tool", channels=(channel,)), tmp_path, ARM64, keep=old)) == ["python 3.11.2", "tool 2.0"]


def test_the_target_decides_not_this_machine(tmp_path: Path) -> None:
    new, old = package("tool 2.0", "__glibc >=2.38"), package("tool 1.0", "__glibc >=2.17")
    gpu = (package("torch 2.0 cuda_0", "__cuda >=12", number=1), package("torch 2.0 cpu_0"))
    avx = (package("fast 2 0", "__archspec 1 x86_64_v3"), package("fast 1 0", "__archspec 1 x86_64"))
    channel = make_channel(tmp_path / "forge", *PYTHONS, new, old, *gpu, *avx)
    request = ask("tool", "torch", "fast", channels=(channel,))
    plain = solve(request, tmp_path)
    assert titles(plain) == ["fast 1", "python 3.12.1", "tool 1.0", "torch 2.0"]
    assert only(plain, "torch").build == "cpu_0"
    rich = solve(request, tmp_path, glibc=(2, 41), cuda="12.4")
    assert titles(rich) == ["fast 1", "python 3.12.1", "tool 2.0", "torch 2.0"]
    assert only(rich, "torch").build == "cuda_0"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_channel(tmp_path_factory.mktemp("channels") / "lab", package("numpy 3.0.0 lab_0", "python"))


@pytest.mark.parametrize(
    ("spec", "priority", "expected"),
    [
        ("numpy", "flexible", ("forge", "2.0.0")),
        ("numpy", "disabled", ("lab", "3.0.0")),
        ("{lab}::numpy >=3", "strict", ("lab", "3.0.0")),
        ("numpy[version='>=3',channel=lab]", "strict", ("lab", "3.0.0")),
        ('numpy[channel="{lab}", version=">=3"]', "strict", ("lab", "3.0.0")),
        ("forge/linux-64::numpy", "strict", ("forge", "2.0.0")),
    ],
)
def test_which_channel_a_record_comes_from(
    forge: Path, lab: Path, tmp_path: Path, spec: str, priority: str, expected: tuple[str, str]
) -> None:
    request = ask(spec.replace("{lab}", lab.as_uri()), channels=(forge, lab), priority=ChannelPriority(priority))
    numpy = only(solve(request, tmp_path), "numpy")
    assert (numpy.channel, numpy.version) == expected


def test_a_channel_that_only_a_spec_names_comes_last(forge: Path, lab: Path, tmp_path: Path) -> None:
    request = ask(f"{lab.as_uri()}::numpy", channels=(forge,))
    assert only(solve(request, tmp_path), "numpy").channel == "lab"


def test_no_address_and_no_token_of_a_channel_is_locked(forge: Path, tmp_path: Path) -> None:
    with serve_channel(forge.parent, tokens=("to-k3n",)) as server:
        request = ask("six", f"{server.plain_url}/t/to-k3n/forge::numpy", channels=(f"{server.plain_url}/t/to-k3n/forge",))
        records = solve(request, tmp_path)
        with pytest.raises(LockError) as caught:
            solve(ask("nothing", channels=request.channels), tmp_path)
    assert {record.channel for record in records} == {"forge"}
    lock = Lock(declaration=Digest.of(b""), platforms=(locked(records),))
    for text in (render_lock(lock), str(caught.value)):
        assert "to-k3n" not in text
        assert "127.0.0.1" not in text


def test_a_spec_that_cannot_be_read_is_named_with_its_line(forge: Path, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        solve(ask("six", "numpy=>2", channels=(forge,)), tmp_path)
    assert "numpy=>2" in caught.value.what
    assert caught.value.where == "environment.yml:5"


def test_channels_that_are_not_there(forge: Path, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="no channel"):
        solve(ask("six"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LockError, match="the channel empty has nothing for linux-64"):
        solve(ask("six", channels=(forge, tmp_path / "empty")), tmp_path)


def test_a_channel_that_does_not_answer_is_named_with_its_line(forge: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    gone = "http://127.0.0.1:9/gone"
    for channel, kind, text in (
        (gone, TransferError, gone),
        ((tmp_path / "empty").as_uri(), LockError, "the channel empty has nothing"),
    ):
        request = replace(ask("six", channels=(forge, channel)), places=((channel, "environment.yml:3"),))
        with pytest.raises(kind) as caught:
            solve(request, tmp_path)
        assert caught.value.where == "environment.yml:3"
        assert text in caught.value.what
        assert "check the" in (caught.value.hint or "")


def test_a_channel_of_a_spec_that_does_not_answer_is_named_with_the_specs_line(forge: Path, tmp_path: Path) -> None:
    request = ask("six", "http://u:s3cret@127.0.0.1:9/gone::numpy", channels=(forge,))
    with pytest.raises(TransferError) as caught:
        solve(request, tmp_path)
    assert caught.value.where == "environment.yml:5"
    assert "s3cret" not in str(caught.value)


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    channel = make_channel(tmp_path / "forge", *PYTHONS)
    for name in ("repodata.json.zst", "repodata.json"):
        (channel / "linux-64" / name).unlink()
    (channel / "linux-64" / "repodata.json").write_text('{"packages.conda": {"a": {]}}')
    with pytest.raises(FormatError) as caught:
        solve(ask("python", channels=(channel,)), tmp_path)
    assert caught.value.where == "forge/linux-64"


@pytest.mark.parametrize("claim", [{"depends": [5]}, {"version": "no version!"}, {"size": -1}, {"sha256": "ab"}, {"build": None}])
def test_a_record_that_cannot_be_read_ends_no_process_of_ours(tmp_path: Path, claim: dict[str, object]) -> None:
    channel = make_channel(tmp_path / "forge", PYTHONS[0], claims={"python-3.11.2-0.conda": claim})
    with pytest.raises(FormatError, match="cannot be read") as caught:
        solve(ask("python", channels=(channel,)), tmp_path / "cache")
    assert caught.value.where == "forge"


def test_a_record_lies_where_its_index_lies(tmp_path: Path) -> None:
    channel = make_channel(tmp_path / "forge", PYTHONS[0], claims={"python-3.11.2-0.conda": {"subdir": "win-64"}})
    (python,) = solve(ask("python", channels=(channel,)), tmp_path / "cache")
    assert python.subdir == "linux-64"


@pytest.mark.parametrize("base", ["https://elsewhere.example/files/", "../../elsewhere"])
def test_an_index_may_name_another_address_for_its_archives(tmp_path: Path, base: str) -> None:
    """They are looked for in the channel all the same: addresses are this machine's business."""
    channel = make_channel(tmp_path / "forge", *PYTHONS[:1])
    for index in channel.glob("*/repodata.json"):
        document = json.loads(index.read_text())
        document["info"]["base_url"] = base
        index.write_text(json.dumps(document))
        index.with_name("repodata.json.zst").unlink()
    (python,) = solve(ask("python", channels=(channel,)), tmp_path / "cache")
    assert (python.channel, python.subdir, python.file) == ("forge", "linux-64", "python-3.11.2-0.conda")


def test_what_an_index_does_not_say_is_measured_once(tmp_path: Path) -> None:
    channel = make_channel(tmp_path / "forge", *PYTHONS[:1])
    for index in channel.glob("*/repodata.json"):
        document = json.loads(index.read_text())
        for entry in document["packages.conda"].values():
            del entry["sha256"], entry["size"]
        index.write_text(json.dumps(document))
        index.with_name("repodata.json.zst").unlink()
    archive = channel / "linux-64" / "python-3.11.2-0.conda"
    (python,) = records = solve(ask("python", channels=(channel,)), tmp_path / "cache")
    assert (python.size, python.sha256.hex) == (archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest())
    assert (tmp_path / "cache" / "artefacts" / "sha256" / python.sha256.hex / archive.name).is_file()
    archive.unlink()
    assert solve(ask("python", channels=(channel,)), tmp_path / "other", keep=locked(records)) == records
    with pytest.raises(TransferError):
        solve(ask("python", channels=(channel,)), tmp_path / "other")


@pytest.mark.parametrize(
    ("claim", "error"),
    [
        ({"md5": "0" * 32, "sha256": None, "size": None}, TrustError),
        ({"sha256": "0" * 64, "size": None}, TrustError),
    ],
)
def test_an_index_that_lies_of_an_archive(tmp_path: Path, claim: dict[str, object], error: type[Exception]) -> None:
    channel = make_channel(tmp_path / "forge", PYTHONS[0], claims={"python-3.11.2-0.conda": claim})
    with pytest.raises(error):
        solve(ask("python", channels=(channel,)), tmp_path / "cache")


def test_offline_what_is_in_the_cache_does(forge: Path, tmp_path: Path) -> None:
    request = ask("six", channels=(forge,))
    with open_channels(request, tmp_path) as channels:
        target = CondaTarget(platform=AMD64, glibc=(2, 36))
        first = lock_records(request, target, channels, keep=None, options=LockOptions())
        assert lock_records(request, target, channels, keep=None, options=LockOptions(offline=True)) == first


@pytest.mark.parametrize(("platform", "subdir"), [(AMD64, "linux-64"), (ARM64, "linux-aarch64")])
def test_real_indexes_are_solved_alike_every_time(shared_data: Path, tmp_path: Path, platform: object, subdir: str) -> None:
    request = ask("numpy", "scikit-learn", "pandas", channels=(shared_data / "conda" / "repodata",))

    class Measuring:
        """The excerpt has no archives, and not every size."""

        def __init__(self, channels: object) -> None:
            self._channels = channels

        def measure(self, _channel: str, _subdir: str, file: str, _md5: str | None) -> tuple[int, Digest, Path]:
            names = json.loads((shared_data / "conda" / "repodata" / _subdir / "repodata.json").read_text())
            entry = {**names["packages"], **names["packages.conda"]}[file]
            return 1, Digest(entry["sha256"]), tmp_path

        def __getattr__(self, name: str) -> object:
            return getattr(self._channels, name)

    with open_channels(request, tmp_path) as channels:
        target = CondaTarget(platform=platform, glibc=(2, 36))  # type: ignore[arg-type]
        found = [lock_records(request, target, Measuring(channels), keep=None, options=LockOptions()) for _ in range(2)]  # type: ignore[arg-type]
    assert found[0] == found[1]
    assert {"numpy", "scikit-learn", "pandas", "python", "scipy"} <= {record.name for record in found[0]}
    assert {record.subdir for record in found[0]} == {subdir, "noarch"}
