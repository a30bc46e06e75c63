from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tools.conda_channel.channel import Channel
from tools.conda_channel.packages import CondaPackage
from tools.conda_channel.server import serve_channel

from wherry.errors import TransferError
from wherry.model.digest import Digest
from wherry.model.lock import LockedRecord
from wherry.sources.conda_channels import CondaChannels
from wherry.sources.conda_logins import ChannelLogins

SECRET = "tk-9f8e7d-SECRET"


def keep(home: Path, **entries: object) -> dict[str, str]:
    (home / "credentials.json").write_text(json.dumps(entries))
    return {"HOME": str(home), "RATTLER_AUTH_FILE": str(home / "credentials.json")}


def test_rattlers_logins_are_found_by_host(tmp_path: Path):
    env = keep(
        tmp_path,
        **{
            "*.prefix.example": {"BearerToken": "bear"},
            "one.example": {"BasicHTTP": {"username": "u", "password": "p"}},
            "two.example": {"CondaToken": "tok"},
            "odd.example": 7,
        },
    )
    logins = ChannelLogins(env)
    assert logins.find("https://repo.prefix.example/x") == "bear"
    assert logins.find("https://one.example/x") == ("u", "p")
    assert logins.find("https://own:login@one.example/x") == ("own", "login")
    assert logins.find("https://evilone.example/x") is None
    assert logins.find("https://odd.example/x") is None
    assert logins.add_token("https://two.example/get/team") == "https://two.example/t/tok/get/team"
    assert logins.add_token("https://two.example/t/mine/team") == "https://two.example/t/mine/team"
    assert logins.add_token("https://one.example/team") == "https://one.example/team"
    assert logins.add_token("file:///srv/team") == "file:///srv/team"


def test_tokens_of_anaconda_client_go_to_its_own_channels(tmp_path: Path):
    folder = tmp_path / ".continuum/anaconda-client/tokens"
    folder.mkdir(parents=True)
    (folder / "https%3A%2F%2Fapi.anaconda.org.token").write_text("abc\n")
    env = {"HOME": str(tmp_path)}
    assert ChannelLogins(env).add_token("https://conda.anaconda.org/team") == "https://conda.anaconda.org/t/abc/team"
    assert ChannelLogins(env).add_token("https://other.example/team") == "https://other.example/team"
    assert ChannelLogins(env, adds_tokens=False).add_token("https://conda.anaconda.org/team") == "https://conda.anaconda.org/team"


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff", "[" * 100_000])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str):
    (tmp_path / "credentials.json").write_text(text, encoding="latin-1")
    assert ChannelLogins({"RATTLER_AUTH_FILE": str(tmp_path / "credentials.json")}).find("https://a.example/") is None


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    made = Channel(tmp_path / "channel")
    made.add(CondaPackage(name="pkg", noarch="generic", files={"share/pkg": b"data\n"}))
    made.write_index()
    return made


def wanted(channel: Channel) -> LockedRecord:
    data = (channel.folder / "noarch/pkg-1.0-0.conda").read_bytes()
    named = {"name": "pkg", "version": "1.0", "build": "0", "subdir": "noarch", "channel": "team", "file": "pkg-1.0-0.conda"}
    return LockedRecord(**named, size=len(data), sha256=Digest.of(data))


@pytest.mark.parametrize("kind", ["token in the address", "token kept", "token by reference", "login", "bearer"])
def test_channels_that_want_a_login_are_read_and_no_secret_is_left(channel: Channel, tmp_path: Path, kind: str):
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    served = {"login": {"login": f"me:{SECRET}"}, "bearer": {"bearer": SECRET}}.get(kind, {"tokens": [SECRET]})
    with serve_channel(channel.folder.parent, **served) as server:  # type: ignore[arg-type]
        host = server.plain_url.removeprefix("http://")
        entry = {"token kept": {"CondaToken": SECRET}, "bearer": {"BearerToken": SECRET}}.get(kind)
        env = keep(home, **({host: entry} if entry else {}))
        if kind == "token by reference":
            (home / ".condarc").write_text(f"custom_channels: {{channel: '{server.plain_url}/t/${{TOKEN}}'}}\n")
            env["TOKEN"] = SECRET
        plain = kind in ("token kept", "bearer")
        declared = "channel" if kind == "token by reference" else f"{server.plain_url if plain else server.url}/channel"

        asked = CondaChannels(env, cache, declared=[declared], pause=lambda _: None)
        name = asked.name_of(declared)
        assert name == "channel"
        assert asked.fetch_repodata(name, "noarch") is not None
        (path,) = asked.fetch_all([replace(wanted(channel), channel=name)])
        assert path.is_file()
        assert SECRET not in asked.describe(name)
    for file in cache.rglob("*"):
        assert SECRET not in str(file)
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()
    with pytest.raises(TransferError) as caught:  # the server is gone
        CondaChannels(env, cache, declared=[declared], pause=lambda _: None).fetch_repodata(name, "noarch")
    assert SECRET not in str(caught.value)


def test_certificates_and_proxies_of_conda_are_used(tmp_path: Path):
    (tmp_path / ".condarc").write_text(
        f"proxy_servers: {{http: 'http://me:{SECRET}@127.0.0.1:9'}}\nssl_verify: false\nchannel_alias: http://channels.example\n"
    )
    asked = CondaChannels({"HOME": str(tmp_path)}, tmp_path / "cache", pause=lambda _: None)
    with pytest.raises(TransferError) as caught:
        asked.fetch_repodata("team", "noarch")
    assert "http://channels.example/team/noarch" in str(caught.value)
    assert SECRET not in str(caught.value)
