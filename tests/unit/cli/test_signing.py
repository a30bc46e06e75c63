"""Signing and verifying as a person types it: `push --sign`, `check --verify-key`, `export provenance`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.simulators.registry import RegistrySimulator
from tests.simulators.signing import Pair, make_pair
from tests.unit.store.tiny import AMD64, put_index
from wherry.cli import check, export, push
from wherry.errors import LockError, StoreError, UsageError
from wherry.formats.lockfile import render_lock
from wherry.model.digest import Digest
from wherry.model.lock import LayerKind, Lock, LockedInterpreter, LockedLayer, PlatformLock
from wherry.store.disk import DiskStore
from wherry.store.images import read_images
from wherry.store.places import store_path

INTERPRETER = LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3")


@pytest.fixture(scope="module")
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: Pair) -> Path:
    """A project whose image of two platforms is in the store, and the lock that it answers."""
    store = DiskStore(store_path(os.environ))
    platforms = []
    for image in read_images(store, put_index(store, "tiny:latest")):
        base = LockedLayer(name="base", kind=LayerKind.BASE, members=(), diff_id=image.config.diff_ids[0])
        platforms.append(
            PlatformLock(platform=image.platform, base=None, interpreter=INTERPRETER, debs=(), wheels=(), layers=(base,))
        )
    (tmp_path / "wherry.lock").write_text(render_lock(Lock(declaration=Digest.of(b""), platforms=tuple(platforms))))
    (tmp_path / "wherry.toml").write_text('name = "tiny"\n')
    (tmp_path / "key.pem").write_bytes(pair.pem("five random words"))
    (tmp_path / "key.pub").write_bytes(pair.public_pem)
    (tmp_path / "other.pub").write_bytes(make_pair().public_pem)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSIGN_PASSWORD", "five random words")
    return tmp_path


def run(*words: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    {"push": push, "check": check, "export": export}[words[0]].register(app)
    return CliRunner().invoke(app, list(words))


def ok(*words: str, code: int = 0) -> str:
    done = run(*words)
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def refused(*words: str) -> str:
    done = run(*words)
    assert isinstance(done.exception, UsageError | LockError | StoreError), done.output
    return str(done.exception)


def test_signed_verified_and_signed_again(registry: RegistrySimulator, folder: Path) -> None:
    reference = f"{registry.host}/team/signed:1"
    told = json.loads(ok("push", reference, "--sign", "key.pem", "--json"))["signed"]
    assert (len(told["manifests"]), told["added"], len(told["artifacts"])) == (3, 8, 8)
    types = [one["type"] for one in told["attestations"]]
    assert sorted(types) == ["https://slsa.dev/provenance/v1"] * 3 + ["https://spdx.dev/Document"] * 2
    assert json.loads(ok("push", reference, "--sign", "key.pem", "--json"))["signed"] == {**told, "added": 0}
    verified = json.loads(ok("check", reference, "--verify-key", "other.pub", "--verify-key", "key.pub", "--json"))
    assert len(verified["verified"]) == 8
    assert {one["key"] for one in verified["verified"]} == {"key.pub"}
    assert verified["reports"][0]["findings"] == []
    assert "https://slsa.dev/provenance/v1  by key.pub" in ok("check", reference, "--verify-key", "key.pub", "--strict")
    alone = json.loads(ok("check", reference, "--verify-key", "key.pub", "--platform", "linux/arm64", "--json"))
    assert {one["platform"] for one in alone["verified"]} == {None, "linux/arm64"}


def test_another_key_is_an_error(registry: RegistrySimulator, folder: Path) -> None:
    reference = f"{registry.host}/team/other:1"
    ok("push", reference)
    assert "the image: not signed" in ok("check", reference, "--verify-key", "key.pub", code=20)
    ok("push", reference, "--sign", "key.pem")
    assert "signed by none of the keys" in ok("check", reference, "--verify-key", "other.pub", code=20)


def test_one_platform_pushed_alone(registry: RegistrySimulator, folder: Path) -> None:
    reference = f"{registry.host}/team/alone:1"
    ok("push", reference, "--sign", "key.pem", "--platform", "linux/arm64")
    verified = json.loads(ok("check", reference, "--verify-key", "key.pub", "--platform", "linux/arm64", "--json"))["verified"]
    assert [one["predicate"] for one in verified] == [None, "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"]
    assert "there is: linux/arm64" in refused("check", reference, "--verify-key", "key.pub", "--platform", "linux/amd64")


def test_without_a_key_signatures_are_a_note(registry: RegistrySimulator, folder: Path) -> None:
    reference = f"{registry.host}/team/noted:1"
    ok("push", reference)
    assert "signature" not in ok("check", reference, "--platform", "linux/amd64", code=20)
    ok("push", reference, "--sign", "key.pem")
    assert "lie beside the image" in ok("check", reference, "--platform", "linux/amd64", code=20)
    registry.fail(403, method="HEAD", path=".sig")
    assert "lie beside the image" not in ok("check", reference, "--platform", "linux/amd64", code=20)


def test_a_dry_run_signs_nothing(registry: RegistrySimulator, folder: Path) -> None:
    done = run("push", f"{registry.host}/team/dry:1", "--sign", "key.pem", "--dry-run")
    assert "would sign 3 manifests and 5 attestations" in done.output
    assert not registry.repository("team/dry").tags


def test_the_attached_provenance_is_the_exported_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = ok("export", "provenance", "--platform", "linux/amd64")
    store = DiskStore(store_path(os.environ))
    (image,) = [one for one in read_images(store, store.resolve("tiny:latest")) if one.platform == AMD64]
    statement: Any = json.loads(raw)
    assert statement["subject"] == [{"digest": {"sha256": image.manifest.digest.hex}, "name": "tiny"}]
    assert "metadata" not in statement["predicate"]["runDetails"]
    whole: Any = json.loads(ok("export", "provenance"))
    assert whole["subject"][0]["digest"]["sha256"] == store.resolve("tiny:latest").digest.hex
    assert whole["predicate"]["buildDefinition"]["externalParameters"]["platforms"] == ["linux/amd64", "linux/arm64"]
    ok("export", "provenance", "tiny", "--platform", "linux/amd64", "-o", "out.json")
    assert (folder / "out.json").read_text() == raw
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    timed: Any = json.loads(ok("export", "provenance", "--platform", "linux/amd64"))
    assert timed["predicate"]["runDetails"]["metadata"] == {"finishedOn": "1970-01-01T00:00:00Z"}


def test_of_another_image_nothing_is_claimed(registry: RegistrySimulator, folder: Path) -> None:
    lock = (folder / "wherry.lock").read_text().replace("diff_id = ", 'diff_id = "sha256:%s" # ' % ("0" * 64))
    (folder / "wherry.lock").write_text(lock)
    reference = f"{registry.host}/team/strange:1"
    assert "not that of the image" in refused("push", reference, "--sign", "key.pem")
    assert "not that of the image" in refused("export", "provenance", "--platform", "linux/amd64")
    assert not registry.repository("team/strange").tags
    done = run("push", reference, "--sign", "key.pem", "--image", "tiny:latest")
    assert "signed without provenance" in done.output
    assert "signed 3 manifests and 0 attestations" in done.output
    ok("check", reference, "--verify-key", "key.pub")


def test_keys_out_of_variables(registry: RegistrySimulator, folder: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING_KEY", pair.pem().decode())
    monkeypatch.setenv("PUBLIC_KEY", pair.public_pem.decode())
    monkeypatch.delenv("COSIGN_PASSWORD")
    reference = f"{registry.host}/team/variables:1"
    ok("push", reference, "--sign", "env:SIGNING_KEY")
    ok("check", reference, "--verify-key", "env:PUBLIC_KEY")


def test_refused_before_anything_moves(registry: RegistrySimulator, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = f"{registry.host}/team/refused:1"
    assert "openssl genpkey" in refused("push", reference, "--sign", "nowhere.pem")
    assert "not set" in refused("push", reference, "--sign", "env:NOWHERE")
    (folder / "large.pem").write_bytes(b"x" * (1 << 17))
    assert "too large" in refused("push", reference, "--sign", "large.pem")
    monkeypatch.setenv("COSIGN_PASSWORD", "another")
    assert "passphrase is wrong" in refused("push", reference, "--sign", "key.pem")
    monkeypatch.delenv("COSIGN_PASSWORD")
    monkeypatch.setenv("WHERRY_PASSPHRASE", "five random words")
    ok("push", reference, "--sign", "key.pem", "--dry-run")
    assert not registry.repository("team/refused").tags


def test_what_does_not_go_with_verifying(folder: Path) -> None:
    assert "in a registry" in refused("check", "--verify-key", "key.pub")
    assert "nothing else" in refused("check", "127.0.0.1:1/a/b", "--verify-key", "key.pub", "--files")
    assert "nothing else" in refused("check", "127.0.0.1:1/a/b", "--verify-key", "key.pub", "--ignore", "signature")
    assert "nothing else" in refused("check", "127.0.0.1:1/a/b", "--verify-key", "key.pub", "--rebuild")
    assert "public one" in refused("check", "127.0.0.1:1/a/b", "--verify-key", "key.pem")
