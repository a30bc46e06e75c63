"""What is bubblewrap's alone: an ordinary user, a root that nothing writes to, terminals, refusals."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot_run, require_tool
from tests.engines.images import busybox_entries, can_run_as_nobody, layer_bytes, put_image
from wherry.engines.bubblewrap import BubblewrapEngine
from wherry.engines.port import EngineImage, PublishedPort, RunSpec
from wherry.errors import EngineError, UsageError
from wherry.formats.tar import file_entry
from wherry.model.platform import Platform
from wherry.run.launch import load_image, pick_runnable
from wherry.store.disk import DiskStore
from wherry.store.host import read_host_platform

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]

WHERRY = (sys.executable, "-c", "from wherry.cli.front import main; main()")
NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    require_tool("bwrap")
    store = DiskStore(tmp_path / "store")
    put_image(store, "tiny:latest", [layer_bytes(busybox_entries())], cmd=["id"])
    return store


@pytest.fixture
def engine(tmp_path: Path) -> BubblewrapEngine:
    return BubblewrapEngine(os.environ, tmp_path / "cache", tmp_path / "volumes")


def load(store: DiskStore, engine: BubblewrapEngine, name: str = "tiny") -> EngineImage:
    stored, image = pick_runnable(store, name)
    load_image(store, stored, image, engine, lambda _: None)
    return image


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    """Outside of pytest's own folders, which others may not pass."""
    folder = Path(tempfile.mkdtemp(prefix="wherry-nobody-"))
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="everything else runs as an ordinary user then")
def test_as_an_ordinary_user(nobodys_folder: Path) -> None:
    require_tool("bwrap", "setpriv")
    if not can_run_as_nobody():
        cannot_run("ordinary users may not make user namespaces here")
    store = DiskStore(nobodys_folder / "store")
    put_image(store, "tiny:latest", [layer_bytes(busybox_entries())], cmd=["id"])
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", nobodys_folder], check=True)
    env = {
        **os.environ,
        "WHERRY_STORE": str(store.root),
        "WHERRY_CACHE": str(nobodys_folder / "cache"),
        "HOME": str(nobodys_folder),
    }
    dropped = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    if subprocess.run([*dropped, sys.executable, "-c", "import wherry"], env=env, capture_output=True, check=False).returncode:
        cannot_run("this Python cannot be started by an ordinary user")
    for _ in range(2):
        done = subprocess.run(
            [*dropped, *WHERRY, "run", "--on", "bubblewrap", "--image", "tiny"],
            env=env,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == b"uid=10001(app) gid=10001(app)\n"


def test_nothing_is_written_into_the_root(
    store: DiskStore, engine: BubblewrapEngine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = load(store, engine)
    root = tmp_path / "cache/roots" / image.image_id.hex / "tree"
    before = sorted(str(path) for path in root.rglob("*"))
    script = "touch /x /home/app/x /usr-x; mkdir /made; echo x > /etc/passwd; rm /bin/ls; chmod 777 /etc; true"
    spec = RunSpec(image=image, name="n", command=("sh", "-c", script), workdir="/not/there", user="0")
    assert engine.run(spec) == 0
    assert "Read-only file system" in capfd.readouterr().err
    assert sorted(str(path) for path in root.rglob("*")) == before
    assert b"app:x" in (root / "etc/passwd").read_bytes()


def test_nothing_is_left_after_a_run(store: DiskStore, engine: BubblewrapEngine, tmp_path: Path) -> None:
    image = load(store, engine)
    engine.run(RunSpec(image=image, name="n", command=("sh", "-c", "true")))
    with pytest.raises(EngineError):
        engine.run(RunSpec(image=image, name="n", command=("sh",), network="bridge"))
    assert not list((tmp_path / "cache/containers").iterdir())


def test_the_hosts_variables_stay_outside(
    store: DiskStore, engine: BubblewrapEngine, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    seeing = BubblewrapEngine({**os.environ, "SECRET": "s3cret"}, tmp_path / "cache", tmp_path / "volumes")
    image = load(store, seeing)
    assert seeing.run(RunSpec(image=image, name="n", command=("env",), env=(("A", "1"),))) == 0
    told = capfd.readouterr().out
    assert "s3cret" not in told
    assert {"A=1", "GREETING=hello", "HOME=/home/app", "PATH=/bin"} <= set(told.splitlines())


def test_no_capabilities(store: DiskStore, engine: BubblewrapEngine, capfd: pytest.CaptureFixture[str]) -> None:
    image = load(store, engine)
    engine.run(RunSpec(image=image, name="n", command=("cat", "/proc/self/status"), user="0"))
    effective = [line for line in capfd.readouterr().out.splitlines() if line.startswith("CapEff")]
    assert effective == ["CapEff:\t0000000000000000"]


def test_refusals(store: DiskStore, engine: BubblewrapEngine, tmp_path: Path) -> None:
    image = load(store, engine)
    spec = {"image": image, "name": "n", "command": ("true",)}
    with pytest.raises(EngineError, match="no GPU"):
        engine.run(RunSpec(**spec, gpus="all"))  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="cannot map port"):
        engine.run(RunSpec(**spec, ports=(PublishedPort(container_port=80, host_port=81),)))  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="no user"):
        engine.run(RunSpec(**spec, user="stranger"))  # type: ignore[arg-type]


def test_image_for_another_machine(store: DiskStore, engine: BubblewrapEngine) -> None:
    other = Platform("linux", "s390x")
    if Path("/proc/sys/fs/binfmt_misc/qemu-s390x").exists():
        pytest.skip("this machine runs s390x programs")
    put_image(store, "far:latest", [layer_bytes([file_entry("a", b"x")])], platform=other)
    image = load(store, engine, "far")
    with pytest.raises(EngineError) as caught:
        engine.run(RunSpec(image=image, name="n", command=("a",)))
    assert f"the image is for {other}, this machine is {read_host_platform()}" in caught.value.what


def test_a_missing_host_folder(store: DiskStore, tmp_path: Path) -> None:
    env = {**os.environ, "WHERRY_STORE": str(store.root), "WHERRY_CACHE": str(tmp_path / "cache")}
    argv = [*WHERRY, "run", "--on", "bubblewrap", "--image", "tiny", "-v", f"{tmp_path}/absent:/in"]
    done = subprocess.run(argv, env=env, capture_output=True, check=False, timeout=120)
    assert done.returncode == UsageError.exit_code
    assert f"mkdir -p {tmp_path}/absent" in done.stderr.decode()


def test_what_ends_at_once_is_told(store: DiskStore, engine: BubblewrapEngine) -> None:
    image = load(store, engine)
    with pytest.raises(EngineError, match="ended at once"):
        engine.start(RunSpec(image=image, name="n", command=("no-such-program",), interactive=False))


def test_a_terminal_is_passed_on(store: DiskStore, tmp_path: Path) -> None:
    env = {**os.environ, "WHERRY_STORE": str(store.root), "WHERRY_CACHE": str(tmp_path / "cache"), "TERM": "xterm"}
    ours, theirs = pty.openpty()
    argv = [*WHERRY, "shell", "--on", "bubblewrap", "--image", "tiny"]
    with subprocess.Popen(argv, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        os.write(ours, b"test -t 0 && echo it-is-$((40 + 2)); exit 9\n")
        told = b""
        while process.poll() is None or select.select([ours], [], [], 0)[0]:
            try:
                told += os.read(ours, 4096)
            except OSError:
                break
        assert process.wait(60) == 9
    os.close(ours)
    assert b"it-is-42" in told
