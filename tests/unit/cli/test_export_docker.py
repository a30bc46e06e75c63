"""`wherry export dockerfile|devcontainer|compose|systemd` as a person types it; that the files work is seen in tests/engines."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from wherry.cli.export import register
from wherry.declare.fingerprint import declaration_digest
from wherry.declare.project import read_declaration
from wherry.errors import LockError, UsageError, WherryError
from wherry.lock.storage import read_lock, write_lock
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import BuildKind, Lock, LockedBase, LockedBuild, LockedInterpreter, LockedWheel, PlatformLock
from wherry.model.platform import Platform

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def locked_wheel(name: str, version: str, tag: str = "any") -> LockedWheel:
    file = f"{name}-{version}-py3-none-{tag}.whl"
    return LockedWheel(name=name, version=version, file=file, size=1000, sha256=Digest.of(file.encode()))


def lock_project(root: Path, *platforms: Platform, source: str = "debian", base: LockedBase | None = None) -> None:
    python = LockedInterpreter(source=source, version="3.11.2", path="/usr/bin/python3.11")
    locks = tuple(
        PlatformLock(
            platform=platform,
            base=base and replace(base, manifest=Digest.of(str(platform).encode())),
            interpreter=python,
            debs=(),
            wheels=(locked_wheel("big", "2.0", platform.architecture), locked_wheel("pure", "1.0" if platform == AMD64 else "1.1")),
            layers=(),
        )
        for platform in platforms
    )
    write_lock(root, Lock(declaration=declaration_digest(read_declaration(root, os.environ)), platforms=locks))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text("big\npure\n")
    (tmp_path / "main.py").write_text("print(1)\n")
    (tmp_path / "wherry.toml").write_text('name = "boat"\nplatforms = ["linux/amd64", "linux/arm64"]\nvolumes = ["/state"]\n')
    lock_project(tmp_path, AMD64, ARM64)
    return tmp_path


def export(project: Path, *words: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["export", *map(str, words), "--project", str(project)])


def exported(project: Path, *words: object) -> str:
    done = export(project, *words)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "against wherry this loses:" in done.stderr
    return done.stdout


def refused(kind: type[WherryError], project: Path, *words: object) -> str:
    done = export(project, *words)
    assert isinstance(done.exception, kind), (done.output, done.exception)
    assert done.stdout == ""
    return str(done.exception)


def test_both_platforms_in_one_file(project: Path) -> None:
    text = exported(project, "dockerfile")
    assert "ARG BASE=debian:bookworm-slim\n" in text
    assert text.count("'big==2.0 --hash=sha256:") == 1
    assert 'pure==1.0 ; platform_machine == "x86_64"' in text
    assert 'pure==1.1 ; platform_machine == "aarch64"' in text
    assert "platform_machine" not in exported(project, "dockerfile", "--platform", "linux/arm64")


def test_what_was_exported_is_not_part_of_the_project(project: Path) -> None:
    before = exported(project, "dockerfile")
    exported(project, "dockerfile", "-o", project / "Dockerfile")
    exported(project, "devcontainer")
    exported(project, "compose", "-o", project / "compose.yaml")
    exported(project, "systemd", "-o", project / "boat.service")
    assert exported(project, "dockerfile") == before == (project / "Dockerfile").read_text()
    assert 'COPY --chmod=0644 ["main.py", "requirements.txt", "/app/"]' in before


def test_a_file_of_somebody_is_kept(project: Path) -> None:
    (project / "Dockerfile").write_text("FROM mine\n")
    assert "not written over" in refused(UsageError, project, "dockerfile", "-o", project / "Dockerfile")
    assert (project / "Dockerfile").read_text() == "FROM mine\n"


def test_a_lock_that_answers_is_needed_and_stays(project: Path) -> None:
    before = (project / "wherry.lock").read_bytes()
    exported(project, "dockerfile")
    assert (project / "wherry.lock").read_bytes() == before
    (project / "requirements.txt").write_text("other\n")
    refused(LockError, project, "dockerfile")
    (project / "wherry.lock").unlink()
    refused(LockError, project, "devcontainer")


def test_a_published_base_goes_by_its_digest(project: Path) -> None:
    (project / "wherry.toml").write_text('name = "boat"\nbase = "r.example/python:3.11"\n')
    base = LockedBase(name="python:3.11", manifest=Digest.of(b""), config=Digest.of(b""), diff_ids=(DiffId("0" * 64),))
    lock_project(project, AMD64, ARM64, source="base", base=base)
    text = exported(project, "dockerfile", "--platform", "linux/amd64")
    assert f"ARG BASE=r.example/python@{Digest.of(b'linux/amd64')}\n" in text
    assert "apt-get" not in text
    both = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    assert "--platform OS/ARCH" in refused(UsageError, project, "dockerfile", *both)


def test_what_a_dockerfile_cannot_have_is_refused(project: Path) -> None:
    lock = read_lock(project)
    assert lock is not None
    build = LockedBuild(name="big", version="2.0", kind=BuildKind.SDIST, file="b.tar.gz", size=1, sha256=Digest.of(b""), recipe=1)
    write_lock(project, replace(lock, platforms=tuple(replace(one, builds=(build,)) for one in lock.platforms)))
    assert "no index has the wheels that were built here: big" in refused(UsageError, project, "dockerfile")
    conda = LockedInterpreter(source="conda", version="3.11.2", path="/opt/conda/bin/python3.11")
    write_lock(project, replace(lock, platforms=tuple(replace(one, interpreter=conda) for one in lock.platforms)))
    assert "by digest" in refused(UsageError, project, "dockerfile")
    assert "boat:latest" in exported(project, "compose")
    lock_project(project, AMD64, ARM64)
    (project / "what?.py").write_text("")
    assert "read a pattern or a quote in this name" in refused(UsageError, project, "dockerfile")


def test_services_name_the_image(project: Path) -> None:
    digest = Digest.of(b"x")
    assert "wherry image load boat:latest --into podman" in exported(project, "systemd")
    pulled = exported(project, "compose", f"r.example/boat@{digest}")
    assert f'image: "r.example/boat@{digest}"' in pulled
    assert '- "boat-state:/state"' in pulled
    assert "wherry image load" not in pulled
    assert "a tag may mean another image" in exported(project, "systemd", "r.example/boat:7")


def test_as_json(project: Path) -> None:
    told = json.loads(exported(project, "devcontainer", "--json", "--dry-run"))
    assert [Path(file["path"]).name for file in told["files"]] == ["devcontainer.json", "Dockerfile"]
    assert (told["schema"], told["dry_run"], bool(told["losses"])) == (1, True, True)
    assert not (project / ".devcontainer").exists()
