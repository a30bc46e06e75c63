"""What git is told, and what it is not asked at all."""

from __future__ import annotations

import io

import pytest

from wherry.errors import DeclarationError, TransferError
from wherry.sources.git_program import archive_commit, split_login

COMMIT = "0" * 40


@pytest.mark.parametrize(
    "url", ["ext::sh -c id", "--upload-pack=id", "git@host:team/x", "ssh://-oProxyCommand=id/x", "../x", "file:x"]
)
def test_addresses_that_git_is_not_asked_for(url: str) -> None:
    with pytest.raises(DeclarationError, match="not an address"):
        archive_commit(url, COMMIT, io.BytesIO(), {}, offline=False)


def test_offline_asks_nobody() -> None:
    with pytest.raises(TransferError) as caught:
        archive_commit("https://me:s3cret@git.example/x", COMMIT, io.BytesIO(), {}, offline=True)
    assert "s3cret" not in str(caught.value)


def test_a_login_goes_by_the_environment() -> None:
    url, variables = split_login("https://me%40work:s3%3Acret@git.example/x.git")
    assert url == "https://git.example/x.git"
    assert variables["GIT_CONFIG_VALUE_0"] == "Authorization: Basic bWVAd29yazpzMzpjcmV0"
    assert split_login("ssh://git@git.example/x.git") == ("ssh://git@git.example/x.git", {})
    assert split_login("https://git.example/x.git") == ("https://git.example/x.git", {})
