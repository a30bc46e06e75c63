"""docker's option grammar, as values and as refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.engines.port import Mount, MountKind, PublishedPort
from wherry.errors import UsageError
from wherry.run.grammar import parse_env, parse_mount, parse_port

FOLDER = Path("/project")
ENV = {"HOME": "/home/me"}


@pytest.mark.parametrize(
    ("text", "source", "target", "read_only"),
    [
        ("/data:/in", "/data", "/in", False),
        ("/data:/in:ro", "/data", "/in", True),
        ("/data:/in:rw", "/data", "/in", False),
        ("./data:/in/", "/project/data", "/in", False),
        (".:/in", "/project", "/in", False),
        ("data/raw:/in", "/project/data/raw", "/in", False),
        ("~/data:/in", "/home/me/data", "/in", False),
        ("~:/in", "/home/me", "/in", False),
        ("/a b/ü:/in", "/a b/ü", "/in", False),
    ],
)
def test_bind(text: str, source: str, target: str, read_only: bool) -> None:
    assert parse_mount(text, FOLDER, ENV) == Mount(kind=MountKind.BIND, source=source, target=target, read_only=read_only)


def test_parent_folder_is_made_plain(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert parse_mount("../b:/in", tmp_path / "a", ENV).source == str(tmp_path / "b")


def test_named_and_anonymous_volume() -> None:
    assert parse_mount("models:/m:ro", FOLDER, ENV) == Mount(kind=MountKind.VOLUME, source="models", target="/m", read_only=True)
    assert parse_mount("/scratch", FOLDER, ENV) == Mount(kind=MountKind.TEMPORARY, target="/scratch")


@pytest.mark.parametrize(
    "text",
    ["", ":/in", "/a:", "/a:in", "/a:/in:z", "/a:/in:ro:x", "/a:/", "/a:/..", "/a:/x/../y", "in", "a!:/in", "x:/in", "/a:/\0"],
)
def test_refused_mounts(text: str) -> None:
    with pytest.raises(UsageError):
        parse_mount(text, FOLDER, ENV)


@pytest.mark.parametrize(
    ("text", "port", "shown"),
    [
        ("80", PublishedPort(container_port=80), "80"),
        ("8080:80", PublishedPort(container_port=80, host_port=8080), "8080:80"),
        ("127.0.0.1:8080:80", PublishedPort(container_port=80, host_port=8080, address="127.0.0.1"), "127.0.0.1:8080:80"),
        ("127.0.0.1::80", PublishedPort(container_port=80, address="127.0.0.1"), "127.0.0.1::80"),
        ("[::1]:53:53/udp", PublishedPort(container_port=53, host_port=53, address="[::1]", protocol="udp"), "[::1]:53:53/udp"),
    ],
)
def test_port(text: str, port: PublishedPort, shown: str) -> None:
    assert parse_port(text) == port
    assert str(port) == shown


@pytest.mark.parametrize("text", ["", "x", "80:", "0", "65536", "0:80", "70000:80", "80-90:80-90", "host:80:80", "80/sctp", "-1"])
def test_refused_ports(text: str) -> None:
    with pytest.raises(UsageError):
        parse_port(text)


def test_env() -> None:
    given = {"TOKEN": "s3cret", "EMPTY": ""}
    read = parse_env(["A=1", "B=x=y", "TOKEN", "EMPTY", "ABSENT", "A=2", "C="], given)
    assert dict(read) == {"A": "2", "B": "x=y", "TOKEN": "s3cret", "EMPTY": "", "C": ""}


@pytest.mark.parametrize("text", ["", "=x", "A B=1", "A=\0"])
def test_refused_env(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_env([text], {})
    assert "\0" not in caught.value.what


def test_refusal_does_not_show_the_value() -> None:
    with pytest.raises(UsageError) as caught:
        parse_env(["BAD KEY=s3cret"], {})
    assert "s3cret" not in str(caught.value)
