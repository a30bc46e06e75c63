from __future__ import annotations

from pathlib import Path

import pytest

from wherry.errors import UsageError
from wherry.sources.conda_addresses import ChannelAddresses
from wherry.sources.conda_configuration import CondaConfiguration, read_conda_configuration

pytest.importorskip("yaml")


def configure(home: Path, text: str, **env: str) -> CondaConfiguration:
    (home / ".condarc").write_text(text)
    return read_conda_configuration({"HOME": str(home), **env})


def test_without_configuration_channels_lie_where_conda_says(tmp_path: Path):
    addresses = ChannelAddresses(read_conda_configuration({"HOME": str(tmp_path)}))
    assert addresses.addresses_of("conda-forge") == ("https://conda.anaconda.org/conda-forge",)
    assert addresses.addresses_of("conda-forge/label/dev") == ("https://conda.anaconda.org/conda-forge/label/dev",)
    assert addresses.expand("defaults") == ("pkgs/main", "pkgs/r")
    assert addresses.addresses_of("pkgs/main") == ("https://repo.anaconda.com/pkgs/main",)


def test_alias_custom_channels_multichannels_and_mirrors(tmp_path: Path):
    text = """\
channel_alias: https://${LOGIN}@mirror.example/conda/
default_channels: [https://mirror.example/main]
custom_channels: {team: "https://team.example/t/$TOKEN"}
custom_multichannels: {both: [team, conda-forge]}
mirrored_channels: {far: [https://one.example/far, https://two.example/far]}
"""
    addresses = ChannelAddresses(configure(tmp_path, text, LOGIN="u:p", TOKEN="abc"))
    assert addresses.addresses_of("conda-forge") == ("https://u:p@mirror.example/conda/conda-forge",)
    assert addresses.addresses_of("team") == ("https://team.example/t/abc/team",)
    assert addresses.addresses_of("far") == ("https://one.example/far", "https://two.example/far")
    assert addresses.expand("both") == ("team", "conda-forge")
    assert addresses.expand("defaults") == ("main",)
    assert addresses.addresses_of("main") == ("https://mirror.example/main",)


def test_later_files_win_and_lists_are_joined(tmp_path: Path):
    prefix = tmp_path / "prefix"
    (prefix / "condarc.d").mkdir(parents=True)
    (prefix / "condarc.d" / "a.yml").write_text("channels: [second]\nchannel_alias: https://later.example\n")
    found = configure(
        tmp_path, "channels: [first]\nchannel_alias: https://early.example\n", CONDA_PREFIX=str(prefix), CONDA_CHANNELS="third"
    )
    assert found.channels == ("third", "second", "first")
    assert found.alias == "https://later.example"


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("conda-forge", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge/", "conda-forge"),
        ("https://conda.anaconda.org/t/SECRET/team/label/dev", "team/label/dev"),
        ("https://repo.anaconda.com/pkgs/main/linux-64", "pkgs/main"),
        ("https://u:p@host.example/t/SECRET/get/team", "team"),
        ("./channel", "channel"),
        ("file:///srv/my%20channel", "my-channel"),
        ("http://127.0.0.1:8080/", "127.0.0.1-8080"),
    ],
)
def test_a_channel_has_one_name_without_credentials(channel: str, name: str):
    addresses = ChannelAddresses(CondaConfiguration(), [channel])
    assert addresses.name_of(channel) == name
    assert addresses.expand(channel) == (name,)


def test_two_addresses_never_share_a_name():
    declared = ["https://one.example/a/team", "https://two.example/b/team", "https://three.example/b/team"]
    addresses = ChannelAddresses(CondaConfiguration(), declared)
    names = [addresses.name_of(channel) for channel in declared]
    assert names == ["team", "b/team", "three.example/b/team"]
    assert [addresses.addresses_of(name) for name in names] == [(channel,) for channel in declared]


def test_an_address_never_takes_the_name_of_another_channel():
    """A mirror beside the original: two channels, in their order."""
    declared = [
        "https://mirror.example/conda/conda-forge",
        "conda-forge",
        "https://conda.anaconda.org/bioconda",
        "file:///srv/bioconda",
    ]
    addresses = ChannelAddresses(CondaConfiguration(), declared)
    names = [addresses.name_of(channel) for channel in declared]
    assert names == ["conda/conda-forge", "conda-forge", "bioconda", "srv/bioconda"]
    assert [addresses.addresses_of(name)[0] for name in names] == [
        declared[0], "https://conda.anaconda.org/conda-forge", declared[2], declared[3],
    ]  # fmt: skip


def test_no_credential_is_shown(tmp_path: Path):
    found = configure(tmp_path, "channel_alias: https://u:SECRET@h.example\nproxy_servers: {http: 'http://u:SECRET@p.example'}\n")
    assert "SECRET" not in repr(found)
    (tmp_path / ".condarc").write_text("channel_alias: 'https://u:SECRET@h.example\n")
    with pytest.raises(UsageError, match=r"\.condarc:2") as caught:
        read_conda_configuration({"HOME": str(tmp_path)})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n", "just words", "\0", "a: &a [*a, *a]\nb: *b\n"])
def test_what_is_no_configuration_is_told(tmp_path: Path, text: str):
    with pytest.raises(UsageError, match=r"\.condarc"):
        configure(tmp_path, text)
