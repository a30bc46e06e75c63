"""Reading apt's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.errors import FormatError
from wherry.sources.apt import read_apt_logins, read_apt_proxies, read_apt_sources


def write(root: Path, name: str, text: str) -> None:
    path = root / "etc/apt" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_nothing_configured(tmp_path: Path) -> None:
    assert read_apt_sources({}, tmp_path) == ()


def test_one_line_sources(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sources.list",
        "# a comment\n"
        "deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/x.gpg] https://mirror.example/debian/ trixie main contrib # end\n"
        "deb-src https://mirror.example/debian trixie main\n"
        "deb cdrom:[Debian]/ trixie main\n"
        "deb https://flat.example ./\n",
    )
    write(tmp_path, "sources.list.d/b.list.disabled", "deb https://other.example/debian trixie main\n")
    (source,) = read_apt_sources({}, tmp_path)
    assert (source.uri, source.suite, source.components) == ("https://mirror.example/debian", "trixie", ("main", "contrib"))
    assert source.architectures == ("amd64", "arm64")
    assert source.keyrings == (tmp_path / "usr/share/keyrings/x.gpg",)
    assert source.where.endswith("sources.list:2")


def test_deb822_sources(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sources.list.d/debian.sources",
        "Types: deb deb-src\n# a comment between\nURIs: http://one.example/debian http://two.example/debian\n"
        "Suites: trixie trixie-updates\nComponents: main\nSigned-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://three.example/debian\nSuites: trixie\nComponents: main\n",
    )
    found = read_apt_sources({}, tmp_path)
    assert [(s.uri, s.suite) for s in found] == [
        ("http://one.example/debian", "trixie"),
        ("http://one.example/debian", "trixie-updates"),
        ("http://two.example/debian", "trixie"),
        ("http://two.example/debian", "trixie-updates"),
    ]
    assert found[0].inline_key == "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc"


def test_mirror_lists(tmp_path: Path) -> None:
    write(tmp_path, "mirrors/debian.list", "https://a.example/debian\tpriority:1\n\nhttps://b.example/debian\n")
    write(tmp_path, "sources.list", "deb mirror+file:/etc/apt/mirrors/debian.list trixie main\n")
    assert [s.uri for s in read_apt_sources({}, tmp_path)] == ["https://a.example/debian", "https://b.example/debian"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, "sources.list", "deb https://mirror.example/debian\n")
    with pytest.raises(FormatError, match=r"sources\.list:1"):
        read_apt_sources({}, tmp_path)


def test_the_place_hides_credentials(tmp_path: Path) -> None:
    write(tmp_path, "sources.list", "deb https://me:secret@mirror.example/debian trixie main\n")
    (source,) = read_apt_sources({}, tmp_path)
    assert source.place == "https://mirror.example/debian"


def test_proxies(tmp_path: Path) -> None:
    env = {"http_proxy": "http://proxy.example:1", "HTTPS_PROXY": "http://proxy.example:2"}
    assert read_apt_proxies(env, tmp_path) == {"http": "http://proxy.example:1", "https": "http://proxy.example:2"}
    write(tmp_path, "apt.conf.d/01proxy", 'Acquire::http::Proxy "http://apt.example:3";\nAcquire::https::Proxy "DIRECT";\n')
    assert read_apt_proxies(env, tmp_path) == {"http": "http://apt.example:3"}


def test_logins(tmp_path: Path) -> None:
    write(tmp_path, "auth.conf", "machine mirror.example/debian login me password secret\n")
    (login,) = read_apt_logins(tmp_path)
    assert (login.machine, login.login, login.password) == ("mirror.example/debian", "me", "secret")
