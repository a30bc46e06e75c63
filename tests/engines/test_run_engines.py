"""`wherry run` and `wherry shell` as whole processes, in real podman, docker, containerd, and with bubblewrap alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import cannot_run, require_tool
from tests.engines.images import busybox_entries, layer_bytes, put_image
from wherry.engines.choice import make_engine
from wherry.engines.port import Engine
from wherry.errors import EngineError
from wherry.formats.tar import directory_entry, file_entry
from wherry.run.launch import load_image, pick_runnable
from wherry.store.disk import DiskStore

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]

WHERRY = (sys.executable, "-c", "from wherry.cli.front import main; main()")
GREET = b"#!/bin/sh\necho $GREETING $@\n"


@dataclass(frozen=True, kw_only=True)
class Place:
    """An engine, and wherry's surroundings with the image ``tiny`` in its store."""

    engine: Engine
    env: Mapping[str, str]
    store: DiskStore

    def argv(self, verb: str, *arguments: str) -> list[str]:
        network = [] if "--network" in arguments else ["--network", "host"]
        return [*WHERRY, verb, "--on", self.engine.name, "--image", "tiny", *network, *arguments]

    def run(self, *arguments: str, verb: str = "run", stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        argv = self.argv(verb, *arguments)
        return subprocess.run(argv, env={**self.env, **env}, input=stdin, capture_output=True, check=False, timeout=120)

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.argv("run", *arguments), env=dict(self.env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


def make_tiny(store: DiskStore) -> None:
    base = layer_bytes(busybox_entries())
    app = layer_bytes(
        [file_entry("home/app/greet", GREET, 0o755), file_entry("var/lib/seed/first", b"seeded\n"), directory_entry("srv")]
    )
    put_image(store, "tiny:latest", [base, app], entrypoint=["/home/app/greet"], cmd=["world"], volumes=["/var/lib/seed"])


@pytest.fixture(scope="session", params=["bubblewrap", "podman", "docker", "containerd"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("run")
    places = {"WHERRY_STORE": str(home / "store"), "WHERRY_CACHE": str(home / "cache")}
    if request.param == "bubblewrap":
        require_tool("bwrap")
        env: Mapping[str, str] = {**os.environ, **places}
    else:
        env = {**request.getfixturevalue(f"{request.param}_engine").env, **places}
    store = DiskStore(home / "store")
    make_tiny(store)
    engine = make_engine(request.param, env)
    info = engine.probe()
    if not info.usable:
        cannot_run(f"{request.param}: {info.reason}")
    return Place(engine=engine, env=env, store=store)


def out(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_secrets_by_reference(place: Place) -> None:
    done = place.run("--secret", "KEY=env:MINE", "sh", "-c", "echo $KEY; echo $MINE", MINE="s3cret")
    if place.engine.name == "containerd":
        assert done.returncode == EngineError.exit_code
        assert b"s3cret" not in done.stderr
    else:
        assert out(done) == "s3cret\n\n"


def test_entrypoint(place: Place) -> None:
    assert out(place.run()) == "hello world\n"


def test_the_image_is_loaded_once(place: Place) -> None:
    stored, image = pick_runnable(place.store, "tiny")
    load_image(place.store, stored, image, place.engine, lambda _: None)
    assert place.engine.has(image)
    assert not load_image(place.store, stored, image, place.engine, lambda _: None)
    assert b"loading" not in place.run("echo").stderr


def test_a_changed_image_of_the_same_name_is_another(place: Place) -> None:
    try:
        base = layer_bytes(busybox_entries())
        put_image(place.store, "tiny:latest", [base, layer_bytes([file_entry("home/app/model", b"2\n")])], cmd=["cat", "model"])
        assert out(place.run()) == "2\n"
    finally:
        make_tiny(place.store)
    assert out(place.run()) == "hello world\n"


def test_command_replaces_the_entrypoint_and_its_code_is_passed_on(place: Place) -> None:
    done = place.run("--", "sh", "-c", "echo $0 $1; exit 7", "-x", "--rm")
    assert (done.returncode, done.stdout) == (7, b"-x --rm\n")


def test_unknown_command(place: Place) -> None:
    assert place.run("no-such-program").returncode == 127


def test_user_folder_and_variables(place: Place) -> None:
    told = out(
        place.run(
            "-e", "A=x y", "-e", "PASSED", "-e", "GREETING=bye", "sh", "-c", "id -u; pwd; echo $A $PASSED $GREETING", PASSED="on"
        )
    )
    assert told == "10001\n/home/app\nx y on bye\n"
    assert out(place.run("-w", "/bin", "pwd")) == "/bin\n"


def test_another_user(place: Place) -> None:
    done = place.run("-u", "777:50", "id")
    if place.engine.name == "containerd" and b"own user only" in done.stderr:
        assert done.returncode == 16  # ctr 1.6 has no such option
        return
    assert out(done).split()[:2] in (["uid=777", "gid=50(staff)"], ["uid=777(777)", "gid=50(staff)"])


def test_stdin(place: Place) -> None:
    data = bytes(range(256)) * 2000
    assert place.run("cat", stdin=data).stdout == data


def test_stdin_that_nobody_reads(place: Place) -> None:
    # It speaks before its end breaks the pipe: podman 4.3 may drop what comes at the same time.
    assert out(place.run("sh", "-c", "echo done; sleep 0.5", stdin=b"x" * 300_000)) == "done\n"


def test_volumes(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_text("given\n")
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    script = "cat /in/a; touch /in/b || echo refused; cat /in/a > /made/here/c"
    volumes = ("-v", f"{tmp_path}/in:/in:ro", "-v", f"{tmp_path}/out:/made/here")
    assert out(place.run(*volumes, "sh", "-c", script)) == "given\nrefused\n"
    assert (tmp_path / "out/c").read_text() == "given\n"
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["a"]


def test_named_volume_stays(place: Place) -> None:
    if place.engine.name == "containerd":
        assert b"no named volumes" in place.run("-v", "kept:/var/lib/seed", "echo").stderr
        return
    volume = ("-v", "kept:/var/lib/seed", "-u", "0")
    assert out(place.run(*volume, "sh", "-c", "cat /var/lib/seed/first; echo more > /var/lib/seed/second")) == "seeded\n"
    assert out(place.run(*volume, "cat", "/var/lib/seed/second")) == "more\n"


def test_a_volume_of_the_image_begins_with_its_content(place: Place) -> None:
    assert out(place.run("cat", "/var/lib/seed/first")) == "seeded\n"


def test_read_only_root(place: Place) -> None:
    done = place.run("--read-only", "sh", "-c", "echo x > /home/app/x || echo refused; echo x > /tmp/x; echo $?")
    assert "refused" in done.stdout.decode()


def test_tmp_is_writable(place: Place) -> None:
    assert out(place.run("sh", "-c", "echo x > /tmp/x; cat /tmp/x")) == "x\n"


def test_no_network(place: Place) -> None:
    # Two lines of headings, then one for each device of the process's own network namespace.
    devices = out(place.run("--network", "none", "cat", "/proc/net/dev")).splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] in (["lo"], [])


def wait_for(happens: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.1)
    return False


def test_detach_and_stop(place: Place, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    script = 'trap "touch /out/ended; exit 0" TERM; touch /out/up; while :; do sleep 0.1; done'
    container = out(place.run("-d", "-v", f"{tmp_path}/out:/out", "--", "sh", "-c", script)).strip()
    assert wait_for((tmp_path / "out/up").exists)
    place.engine.stop(container, 10)
    assert wait_for((tmp_path / "out/ended").exists)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_the_container(place: Place, tmp_path: Path, number: signal.Signals, code: int) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    script = 'trap "echo bye > /out/ended; exit 0" TERM; echo up; while :; do sleep 0.1; done'
    process = place.begin("-v", f"{tmp_path}/out:/out", "--", "sh", "-c", script)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(60) == code
    assert (tmp_path / "out/ended").read_text() == "bye\n"


def test_second_signal_ends_what_does_not_listen(place: Place) -> None:
    process = place.begin("--", "sh", "-c", 'trap "" TERM INT; echo up; while :; do sleep 0.1; done')
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_shell_reads_commands_from_stdin(place: Place) -> None:
    done = place.run(verb="shell", stdin=b"echo at $PWD; which vi; ls /; exit 5\n")
    assert done.returncode == 5, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["at /home/app", "/.wherry/busybox/vi"]
    assert "bin" in lines


def test_shell_in_an_image_that_has_nothing(place: Place) -> None:
    put_image(place.store, "bare:latest", [layer_bytes([file_entry("only", b"x\n")])], env=[], user="", workdir="")
    argv = [*WHERRY, "shell", "--on", place.engine.name, "--image", "bare", "--network", "host"]
    done = subprocess.run(argv, env=dict(place.env), input=b"cat /only; ls -d /bin", capture_output=True, check=False, timeout=120)
    assert done.stdout == b"x\n", done.stderr.decode()
