"""What maintainer scripts would do, told from their text."""

from __future__ import annotations

import pytest

from wherry.formats.maintainer_script import HANDLED, INSTALLERS, list_effects, summarise_effects


def would(**scripts: str) -> str:
    effects = list_effects(scripts)
    return summarise_effects(effects)[0] if effects else ""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("wget -q http://example.org/f", "download files"),
        ("adduser --system --home /var/lib/x x", "make a user"),
        ("  ssh-keygen -q -f key", "make keys"),
        ("setcap cap_net_raw+ep /bin/ping", "give programs capabilities"),
        ("ldconfig\npy3compile -p x\ninvoke-rc.d x start\ndeb-systemd-helper enable x", ""),
        ("# wget is what this does not do", ""),
        ("mywget; ./wgetter; no-curl-here", ""),
        ("fc-cache -f", ""),
        ("db_input high x/y || true\ndb_go", ""),
        ("", ""),
    ],
)
def test_what_a_command_means(text: str, what: str) -> None:
    assert would(postinst=f"#!/bin/sh\nset -e\n{text}\n") == what


def test_alternatives_name_their_links() -> None:
    text = "update-alternatives --quiet \\\n  --install /usr/bin/a a /usr/bin/a-1 10 \\\n  --slave /x y z\n"
    assert would(postinst=text) == "link /usr/bin/a"
    many = "\n".join(f"update-alternatives --install /usr/bin/{name} {name} /opt/{name} 1" for name in "abcde")
    assert would(postinst=many) == "link /usr/bin/a, /usr/bin/b, /usr/bin/c and 2 more"


def test_a_question_is_told_with_what_hangs_on_it() -> None:
    effects = list_effects({"config": "db_input critical x/eula\n", "postinst": "/usr/lib/msttcorefonts/update-ms-fonts\n"})
    what, remedy = summarise_effects(effects)
    assert what == "ask a question (debconf), download files"
    assert "in the project" in remedy


def test_the_base_is_dealt_with_already() -> None:
    assert {"libc6", "tzdata", "ca-certificates", "base-files"} <= HANDLED
    assert not HANDLED & INSTALLERS.keys()
