"""Logins as docker and podman keep them."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wherry.sources.credentials import auth_files, find_login
from wherry.store.registry_auth import Credential

HUB_KEY = "https://index.docker.io/v1/"


def auth(user: str, password: str = "pässword") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def user(registry: str, repository: str, env: Mapping[str, str]) -> str:
    credential = find_login(registry, repository, env).credential
    return credential.user if credential else ""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}


def helper(env: Mapping[str, str], name: str, script: str) -> None:
    path = Path(env["PATH"]) / f"docker-credential-{name}"
    write(path, f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def docker(env: Mapping[str, str], document: Any) -> None:
    write(Path(env["HOME"]) / ".docker/config.json", document)


def test_every_place_in_its_order(env: dict[str, str], tmp_path: Path) -> None:
    places = [
        tmp_path / ".docker/config.json",
        tmp_path / ".config/containers/auth.json",
        tmp_path / "run/containers/auth.json",
        tmp_path / "docker/config.json",
        tmp_path / "given.json",
    ]
    env["XDG_RUNTIME_DIR"] = str(tmp_path / "run")
    assert user("registry.example", "a", env) == ""
    for number, place in enumerate(places):
        if number == 3:
            env["DOCKER_CONFIG"] = str(tmp_path / "docker")
        if number == 4:
            env["REGISTRY_AUTH_FILE"] = str(place)
        write(place, {"auths": {"registry.example": auth(f"user{number}")}})
        assert user("registry.example", "a", env) == f"user{number}"
    assert set(auth_files(env)) == set(places)


@pytest.mark.parametrize(
    "key", ["registry.example", "https://registry.example", "https://registry.example/v1/", "https://registry.example/v2/"]
)
def test_keys_as_docker_wrote_them(env: dict[str, str], key: str) -> None:
    docker(env, {"auths": {key: auth("me")}})
    assert find_login("registry.example", "a/b", env).credential == Credential(user="me", password="pässword")
    assert user("registry.example:5000", "a/b", env) == ""
    assert user("example", "a/b", env) == ""


def test_the_longest_key_of_podman_wins(env: dict[str, str]) -> None:
    docker(env, {"auths": {"r.example": auth("host"), "r.example/a": auth("group"), "r.example/a/b": auth("one")}})
    assert [user("r.example", name, env) for name in ("a/b", "a/c", "a/b/d", "c")] == ["one", "group", "one", "host"]


@pytest.mark.parametrize("key", [HUB_KEY, "docker.io", "index.docker.io", "registry-1.docker.io"])
def test_names_of_the_hub(env: dict[str, str], key: str) -> None:
    docker(env, {"auths": {key: auth("me")}})
    assert user("docker.io", "library/debian", env) == "me"


def test_tokens_and_plain_fields(env: dict[str, str]) -> None:
    docker(
        env,
        {
            "auths": {
                "a.example": {**auth("me", ""), "identitytoken": "long"},
                "b.example": {"registrytoken": "bearer"},
                "c.example": {"username": "me", "password": "pass:word"},
            }
        },
    )
    assert find_login("a.example", "x", env).credential == Credential(user="me", identity_token="long")
    assert find_login("b.example", "x", env).credential == Credential(registry_token="bearer")
    assert find_login("c.example", "x", env).credential == Credential(user="me", password="pass:word")


def test_an_empty_entry_asks_the_store(env: dict[str, str]) -> None:
    helper(
        env,
        "desk",
        'read server; [ "$1" = get ] && echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"$server\\",\\"Secret\\":\\"s\\"}"',
    )
    docker(env, {"auths": {"r.example": {}}, "credsStore": "desk"})
    assert user("r.example", "a", env) == "r.example"
    assert user("docker.io", "library/a", env) == HUB_KEY


def test_a_helper_for_one_registry_goes_before_the_store(env: dict[str, str]) -> None:
    helper(env, "desk", 'echo \'{"Username":"store","Secret":"s"}\'')
    helper(env, "cloud", 'echo \'{"Username":"<token>","Secret":"identity"}\'')
    docker(env, {"credHelpers": {"r.example": "cloud"}, "credsStore": "desk"})
    assert find_login("r.example", "a", env).credential == Credential(identity_token="identity")
    assert user("other.example", "a", env) == "store"


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("echo 'credentials not found in native keychain'; exit 1", ""),
        ("echo 's3cret' >&2; exit 3", "failed with exit code 3"),
        ("echo nonsense", "gave no login"),
        ("echo '[]'", "gave no login"),
        (None, "is not installed"),
    ],
)
def test_a_helper_that_has_none_or_fails(env: dict[str, str], script: str | None, note: str) -> None:
    if script is not None:
        helper(env, "desk", script)
    docker(env, {"auths": {"r.example": auth("file")}, "credsStore": "desk"})
    login = find_login("r.example", "a", env)
    assert login.credential is not None
    assert login.credential.user == "file"
    docker(env, {"credsStore": "desk"})
    login = find_login("r.example", "a", env)
    assert login.credential is None
    assert note in " ".join(login.notes)
    assert bool(note) == bool(login.notes)
    assert "s3cret" not in " ".join(login.notes)


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "", 7, None])
def test_a_helper_with_a_name_that_is_none(env: dict[str, str], name: object) -> None:
    docker(env, {"credsStore": name, "credHelpers": {"r.example": name}})
    assert find_login("r.example", "a", env).credential is None


@pytest.mark.parametrize(
    "document",
    ["{", "[]", '{"auths": []}', '{"auths": {"r.example": {"auth": "!!"}}}', '{"auths": {"r.example": "me"}}', "[" * 9000],
)
def test_damaged_files_are_passed_over(env: dict[str, str], document: str, tmp_path: Path) -> None:
    write(tmp_path / "first.json", document)
    env["REGISTRY_AUTH_FILE"] = str(tmp_path / "first.json")
    docker(env, {"auths": {"r.example": auth("me")}})
    assert user("r.example", "a", env) == "me"


def test_no_home_no_login() -> None:
    assert find_login("r.example", "a", {}).credential is None


def test_a_secret_is_in_no_text() -> None:
    shown = repr(Credential(user="me", password="hush", identity_token="hush", registry_token="hush"))
    assert "hush" not in shown
