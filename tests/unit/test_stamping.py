"""Models that a job wrote, and what is said where one of another environment is shipped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.rebasing_images import put_image
from tests.unit.run.backend_contract import wait_until
from tests.unit.run.test_local_backend import make_environment
from wherry.declare.secret_files import is_litter
from wherry.errors import FormatError
from wherry.formats.lockfile import render_lock
from wherry.formats.model_stamp import parse_stamp, render_stamp
from wherry.jobs import Jobs, JobWish
from wherry.model.digest import Digest
from wherry.model.job import BackendKind, JobRecord, Target
from wherry.model.lock import Lock, LockedInterpreter, LockedWheel, PlatformLock, packages_digest
from wherry.model.platform import Platform
from wherry.model.stamp import STAMP_SUFFIX, ModelStamp
from wherry.run.backends.local import LocalBackend
from wherry.stamping import RULE, judge_stamps
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform
from wherry.store.images import StoredImage

MODEL = b"weights"
SHA256 = hashlib.sha256(MODEL).hexdigest()
STAMP = ModelStamp(sha256=SHA256, job="3fa2", lock="sha256:" + "1" * 64, platform="linux/amd64", python="3.11.2")
HOST = read_host_platform()


def make_lock(version: str, *platforms: Platform) -> Lock:
    python = LockedInterpreter(version="3.11.2", source="debian", path="/usr/bin/python3.11")
    wheel = LockedWheel(
        name="numpy", version=version, file=f"numpy-{version}-py3-none-any.whl", size=1, sha256=Digest.of(version.encode())
    )
    locked = [PlatformLock(platform=each, base=None, interpreter=python, debs=(), wheels=(wheel,), layers=()) for each in platforms]
    return Lock(declaration=Digest.of(b""), platforms=tuple(locked))


@pytest.fixture
def store() -> DiskStore:
    return DiskStore(Path(os.environ["WHERRY_STORE"]))


@pytest.fixture
def train(tmp_path: Path) -> Callable[[Lock], JobRecord]:
    """A job that leaves a model, in an environment of this lock."""
    jobs, prefix = Jobs(os.environ), tmp_path / "env"

    def run(lock: Lock) -> JobRecord:
        digest = str(packages_digest(lock.for_platform(HOST)))

        def open_backend(then: Callable[[], None]):  # type: ignore[no-untyped-def]

            made = replace(make_environment(prefix), lock=digest)
            return LocalBackend(os.environ, lambda: (prefix, made), then=then)

        script = 'printf weights > "$WHERRY_OUTPUTS/model.pkl"; printf x > "$WHERRY_OUTPUTS/log.txt"'
        target = Target(name="local", backend=BackendKind.LOCAL)
        record = jobs.begin(JobWish(root=tmp_path, name="n", target=target, command=("sh", "-c", script)), open_backend)
        assert wait_until(lambda: jobs.records.find(record.id).state.is_final)
        return jobs.records.find(record.id)

    return run


def build(store: DiskStore, root: Path, lock: Lock, model: bytes = MODEL) -> StoredImage:
    """The project's image of this lock, with a model; the lock lies in the project."""
    root.mkdir(exist_ok=True)
    (root / "wherry.lock").write_text(render_lock(lock))
    (wheel,) = lock.platforms[0].wheels
    return put_image(
        store,
        "shipped:1",
        [{"opt/x": b""}, {"app/models/model.pkl": model}],
        platform=HOST,
        settings={"WorkingDir": "/app"},
        steps=["wherry layer wheels wheels", "wherry layer model models/model.pkl"],
        comments=[f"{wheel.name} {wheel.version}"],
    )


def test_a_model_of_another_environment_is_named(store: DiskStore, tmp_path: Path, train: Callable[[Lock], JobRecord]) -> None:
    record = train(make_lock("1.0", HOST))
    image = build(store, tmp_path / "p", make_lock("2.0", HOST))
    (finding,) = judge_stamps(image, tmp_path / "p", store, os.environ)
    assert (finding.rule, finding.subject, finding.where) == (RULE, "model.pkl", ("/app/models/model.pkl",))
    assert f"job {record.id}" in finding.what
    assert record.id in finding.remedy


def test_one_of_this_environment_or_of_nobody_is_not(store: DiskStore, tmp_path: Path, train: Callable[[Lock], JobRecord]) -> None:
    lock = make_lock("1.0", HOST)
    train(lock)
    assert judge_stamps(build(store, tmp_path / "p", lock), tmp_path / "p", store, os.environ) == ()
    other = make_lock("2.0", HOST)
    assert judge_stamps(build(store, tmp_path / "p", other, b"other weights"), tmp_path / "p", store, os.environ) == ()


def test_the_lock_counts_for_the_platform_that_the_model_was_made_on(store: DiskStore, tmp_path: Path) -> None:
    arm = Platform("linux", "arm64")
    lock = make_lock("1.0", HOST, arm)
    image = build(store, tmp_path / "p", lock)
    beside = tmp_path / "p/models"
    beside.mkdir()
    for platform, digest, count in (
        (arm, packages_digest(lock.for_platform(arm)), 0),
        (arm, Digest.of(b"another"), 1),
        (Platform("linux", "s390x"), Digest.of(b"another"), 0),
    ):
        stamp = replace(STAMP, lock=str(digest), platform=str(platform))
        (beside / f"model.pkl{STAMP_SUFFIX}").write_bytes(render_stamp(stamp))
        assert len(judge_stamps(image, tmp_path / "p", store, os.environ)) == count


def test_an_image_of_another_lock_is_not_judged(store: DiskStore, tmp_path: Path, train: Callable[[Lock], JobRecord]) -> None:
    train(make_lock("1.0", HOST))
    image = build(store, tmp_path / "p", make_lock("2.0", HOST))
    (tmp_path / "p/wherry.lock").write_text(render_lock(make_lock("3.0", HOST)))
    assert judge_stamps(image, tmp_path / "p", store, os.environ) == ()
    (tmp_path / "p/wherry.lock").unlink()
    assert judge_stamps(image, tmp_path / "p", store, os.environ) == ()


def test_the_stamp_lies_beside_the_model_and_is_no_output(train: Callable[[Lock], JobRecord]) -> None:
    lock = make_lock("1.0", HOST)
    record = train(lock)
    folder = Path(os.environ["WHERRY_JOBS"]) / record.id / "outputs"
    assert [output.path for output in record.outputs] == ["log.txt", "model.pkl"]
    assert sorted(path.name for path in folder.iterdir()) == ["log.txt", "model.pkl", f"model.pkl{STAMP_SUFFIX}"]
    assert (folder / "model.pkl").read_bytes() == MODEL
    stamp = parse_stamp((folder / f"model.pkl{STAMP_SUFFIX}").read_bytes(), "test")
    assert (stamp.sha256, stamp.job, stamp.lock) == (SHA256, record.id, str(packages_digest(lock.for_platform(HOST))))


def test_stamps_never_enter_an_image() -> None:
    assert is_litter(f"model.pkl{STAMP_SUFFIX}")
    assert not is_litter("model.pkl")


def test_a_stamp_is_read_as_it_was_written() -> None:
    assert parse_stamp(render_stamp(STAMP), "test") == STAMP
    assert parse_stamp(render_stamp(replace(STAMP, python=None)), "test").python is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        render_stamp(STAMP)[:-20],
        render_stamp(STAMP) + b" " * 5000,
        render_stamp(STAMP).replace(b'"schema":1', b'"schema":2'),
        render_stamp(replace(STAMP, sha256="x")),
        render_stamp(replace(STAMP, job="a\x1b[2J")),
        b'{"schema":1,"sha256":[],"job":{}}',
    ],
)
def test_what_is_no_stamp_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        parse_stamp(raw, "test")
