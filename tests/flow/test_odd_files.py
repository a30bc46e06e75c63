"""Projects as people have them: strange names, links, secrets, things that cannot be read, files that go on changing."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import PROGRAM, Seed, Wherry, assert_valid_store, layers_of, locked_project, tree_of

pytestmark = pytest.mark.network

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nthis-is-the-secret\n-----END OPENSSH PRIVATE KEY-----\n"


def read_layer(wherry: Wherry, layer: Mapping[str, Any]) -> dict[str, tarfile.TarInfo]:
    """A layer's members by path, read by a stranger."""
    return {member.name: member for member in open_layer(wherry, layer).getmembers()}


def open_layer(wherry: Wherry, layer: Mapping[str, Any]) -> tarfile.TarFile:
    blob = wherry.store / "blobs/sha256" / str(layer["digest"]).removeprefix("sha256:")
    return tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob.read_bytes())), encoding="utf-8")


def code_of(wherry: Wherry, result: Mapping[str, Any]) -> dict[str, tarfile.TarInfo]:
    (layer,) = [layer for layer in layers_of(result) if layer["cause"] == "code"]
    return read_layer(wherry, layer)


def test_names_of_every_kind_are_in_the_image(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    names = [
        "käse.py",
        "ka\u0308se2.py",  # the same letters, decomposed: a name is bytes, and stays so
        "数据/模型.json",
        "with space & 'quotes' \"double\" $HOME `x`.txt",
        "emoji-\N{SNAKE}.txt",
        "-leading-dash",
        "x" * 255,
        "/".join(["deep" * 30] * 12) + "/" + "y" * 200,
        "back\\slash.txt",
        "line\nbreak.txt",
    ]
    project = locked_project(seed, tmp_path / "named", {name: f"{number}\n" for number, name in enumerate(names)})
    before = tree_of(project)
    result = wherry.with_env(LC_ALL="C").build(project)
    found = code_of(wherry, result)
    for number, name in enumerate(names):
        assert f"app/{name}" in found, name
        assert found[f"app/{name}"].size == len(f"{number}\n")
    assert tree_of(project) == before
    assert wherry.build(project) == result
    assert wherry.build(project, "--verify") == result


def test_a_name_that_is_no_text_is_refused(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = locked_project(seed, tmp_path / "bytes")
    with open(os.fsencode(project) + b"/caf\xe9.py", "wb"):  # noqa: PTH123 - pathlib has no bytes
        pass
    before = tree_of(wherry.store)
    told = wherry.refused("build", cwd=project, code=10)
    assert "caf\\xe9.py" in told
    assert tree_of(wherry.store) == before


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside.txt", "../../../../../../etc/passwd", "inner/../../outside.txt"])
def test_a_link_out_of_the_project_is_refused(wherry: Wherry, seed: Seed, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside.txt").write_text("not yours")
    project = locked_project(seed, tmp_path / "linked", {"inner/file": ""})
    (project / "data.txt").symlink_to(target)
    before = tree_of(wherry.store, project)
    told = wherry.refused("build", cwd=project, code=10)
    assert "data.txt" in told
    assert "out of the project" in told
    assert tree_of(wherry.store, project) == before


def test_a_link_out_by_way_of_a_linked_folder_is_refused(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.txt").write_text("not yours")
    project = locked_project(seed, tmp_path / "linked")
    (project / "folder").symlink_to(tmp_path / "outside")
    assert "folder" in wherry.refused("build", cwd=project, code=10)


def test_links_inside_the_project_stay_links(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = locked_project(seed, tmp_path / "linked", {"data/one.txt": "1"})
    (project / "latest").symlink_to("data")
    (project / "data/two.txt").symlink_to(project / "data/one.txt")  # absolute, and inside
    (project / "broken").symlink_to("nowhere")
    found = code_of(wherry, wherry.build(project))
    assert (found["app/latest"].issym(), found["app/latest"].linkname) == (True, "data")
    assert (found["app/data/two.txt"].issym(), found["app/data/two.txt"].linkname) == (True, "one.txt")
    assert found["app/broken"].linkname == "nowhere"


def test_what_is_no_file_is_refused(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = locked_project(seed, tmp_path / "piped")
    os.mkfifo(project / "pipe")
    assert "pipe" in wherry.refused("build", cwd=project, code=10, timeout=60)


@pytest.mark.parametrize("what", ["locked.py", "folder", "model.pkl", "requirements.txt", "wherry.toml"])
def test_what_cannot_be_read_is_named(wherry: Wherry, seed: Seed, tmp_path: Path, what: str) -> None:
    files = {"locked.py": "", "folder/file.py": "", "model.pkl": "x", "wherry.toml": 'name = "closed"\n'}
    project = locked_project(seed, tmp_path / "closed", files)
    path = project / what
    path.chmod(0)
    try:
        told = wherry.refused("build", cwd=project, code=10, prefix=as_one_who_may_not())
    finally:
        path.chmod(0o755)
    assert what in told
    assert "ermission denied" in told
    assert wherry.ok("image", "ls", "--json", cwd=project).count("digest") == 0
    assert_valid_store(wherry.store)
    assert not list((wherry.store / "ingest").iterdir())


def as_one_who_may_not() -> list[str]:
    """root without the right to read everything: the owner of our files, and bound by their modes."""
    if os.geteuid() != 0:
        return []
    require_tool("setpriv")
    gone = "-dac_override,-dac_read_search"
    return ["setpriv", "--bounding-set", gone, "--inh-caps", gone]


def test_secrets_never_enter_and_are_told_of(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    secret = {
        ".env": "PASSWORD=this-is-the-secret\n",
        "config/.env.production": "PASSWORD=this-is-the-secret\n",
        "id_ed25519": KEY,
        "certs/device.pem": KEY,
        "service-account.json": '{"private_key": "this-is-the-secret"}',
        ".aws/credentials": "aws_secret_access_key = this-is-the-secret",
        ".npmrc": "//registry.example/:_authToken=this-is-the-secret",
        ".netrc": "machine host.example password this-is-the-secret",
    }
    litter = {".git/config": "this-is-the-secret", ".venv/pyvenv.cfg": "this-is-the-secret"}
    public = {"certs/ca.pem": "-----BEGIN CERTIFICATE-----\n", "env.py": "", "keys.py": "", ".env_not/file.py": ""}
    project = locked_project(seed, tmp_path / "secretive", {**secret, **litter, **public})
    done = wherry.run("build", cwd=project)
    assert done.returncode == 0, done.stderr
    for path in secret:
        assert any(path in line or line.startswith(path.split("/")[0]) for line in done.stderr.splitlines()), (path, done.stderr)
    result = wherry.build(project)
    assert "app/certs/ca.pem" in code_of(wherry, result)
    for layer in layers_of(result):
        if layer["cause"] in ("code", "model.pkl"):
            archive = open_layer(wherry, layer)
            for member in archive.getmembers():
                assert member.name.removeprefix("app/") not in {**secret, **litter}
                content = archive.extractfile(member)
                assert content is None or b"this-is-the-secret" not in content.read(), member.name


def test_a_secret_that_comes_later_is_told_of_by_the_quick_build(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = locked_project(seed, tmp_path / "later")
    first = wherry.build(project)
    wherry.build(project)
    (project / ".env").write_text("PASSWORD=x\n")
    done = wherry.run("build", "--json", cwd=project)
    assert ".env" in done.stderr
    assert wherry.build(project) == first


def test_a_secret_that_is_asked_for_is_refused(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    files = {".env": "PASSWORD=x\n", "wherry.toml": 'code = { include = ["main.py", ".env"] }\n'}
    project = locked_project(seed, tmp_path / "asking", files)
    assert ".env" in wherry.refused("build", cwd=project, code=10)


def test_a_missing_model_is_an_error_unless_optional(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = locked_project(seed, tmp_path / "modelless", {"wherry.toml": 'models = ["models/best.pkl"]\n'})
    before = tree_of(wherry.store, project)
    told = wherry.refused("build", cwd=project, code=10)
    assert "models/best.pkl" in told
    assert "optional" in told
    assert tree_of(wherry.store, project) == before
    (project / "wherry.toml").write_text('models = [{ path = "models/best.pkl", optional = true }]\n')
    without = wherry.build(project)
    assert "models/best.pkl" not in [layer["cause"] for layer in layers_of(without)]
    (project / "models").mkdir()
    (project / "models/best.pkl").write_text("weights")
    assert "models/best.pkl" in [layer["cause"] for layer in layers_of(wherry.build(project))]
    (project / "models/best.pkl").unlink()
    assert wherry.build(project) == without


def test_a_file_that_goes_on_growing_gives_an_image_or_a_clear_error(wherry: Wherry, seed: Seed, tmp_path: Path) -> None:
    project = locked_project(seed, tmp_path / "growing", {"train.log": b"x" * 3_000_000})
    stop = threading.Event()

    def grow() -> None:
        with (project / "train.log").open("ab") as file:
            while not stop.is_set():
                file.write(b"another line\n" * 1000)
                file.flush()
                time.sleep(0.001)

    def cut() -> None:
        while not stop.is_set():
            os.truncate(project / "train.log", 1_000_000)
            os.truncate(project / "train.log", 3_000_000)

    for change in (grow, cut):
        stop.clear()
        writer = threading.Thread(target=change)
        writer.start()
        try:
            done = wherry.run("build", "--verify", cwd=project)
        finally:
            stop.set()
            writer.join()
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 10), done.stderr
        if done.returncode:
            assert "train.log: the file changed while it was read" in done.stderr
        assert not list((wherry.store / "ingest").iterdir())
    assert wherry.build(project) == wherry.build(project, "--verify")


def test_the_folder_itself_may_be_missing_or_no_folder(wherry: Wherry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "no such folder" in wherry.refused("build", "nowhere", cwd=tmp_path, code=10)
    assert "not a folder" in wherry.refused("build", "file", cwd=tmp_path, code=10)
    (tmp_path / "bare").mkdir()
    done = subprocess.run([PROGRAM, "build"], cwd=tmp_path / "bare", env=wherry.environment(), capture_output=True, text=True)
    assert done.returncode in (0, 10)
    assert "Traceback" not in done.stderr
