"""What Debian's maintainer scripts would do, told from their text; nothing here runs one.

Recognised are the programs that such scripts call to change a system (Debian Policy, chapter 6, and debhelper's snippets). What
is of no use in a container is not told: services, the linker's cache, fonts' and icons' caches, Python's bytecode, moved
configuration files. Nor is what leaves traces (`check.maintainer_scripts`), for whether it is needed shows there. Packages of
wherry's own base are not asked: what their scripts would make is made by hand, or needs not be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# The packages of the bases of bookworm and trixie, and those whose alternatives are linked by hand.
HANDLED = frozenset(
    {
        "base-files", "ca-certificates", "gcc-12-base", "gcc-14-base", "libbz2-1.0", "libc-bin", "libc6", "libcom-err2",
        "libcrypt1", "libdb5.3", "libdb5.3t64", "libexpat1", "libffi8", "libgcc-s1", "libgomp1", "libgssapi-krb5-2",
        "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0", "liblzma5", "libncursesw6", "libnsl2",
        "libpython3.11-minimal", "libpython3.11-stdlib", "libpython3.13-minimal", "libpython3.13-stdlib", "libreadline8",
        "libreadline8t64", "libsqlite3-0", "libssl3", "libssl3t64", "libstdc++6", "libtinfo6", "libtirpc-common", "libtirpc3",
        "libuuid1", "libzstd1", "media-types", "netbase", "openssl-provider-legacy", "python3.11", "python3.11-minimal",
        "python3.13", "python3.13-minimal", "readline-common", "tzdata", "zlib1g", "gawk", "libblas3", "liblapack3",
        "libopenblas0-pthread", "mawk", "openssl",
    }
)  # fmt: skip
_FREE_FONTS = "fonts-liberation among system-packages (of the same widths), or the fonts' files in the project"
# Packages that hold nothing but a script that fetches something, and what to take instead.
INSTALLERS: Mapping[str, str] = {
    "ttf-mscorefonts-installer": _FREE_FONTS,
    "msttcorefonts": _FREE_FONTS,
}
_LINKS = re.compile(r"update-alternatives\b[^\n;]*?--install\s+[\"']?([^\s\"']+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """`what` follows "it would"; `matters` where programs of the package may fail without it."""

    what: str
    remedy: str = ""
    matters: bool = True


# What calls of a script mean; the first column is looked for in its commands.
_EFFECTS: tuple[tuple[re.Pattern[str], Effect], ...] = tuple(
    (re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])"), effect)
    for pattern, effect in (
        ("db_input|db_go", Effect(what="ask a question (debconf)", matters=False)),
        (
            "wget|curl|aria2c|update-ms-fonts",
            Effect(what="download files", remedy="a package that has the files inside, or the files in the project"),
        ),
        (
            "adduser|addgroup|useradd|groupadd|systemd-sysusers",
            Effect(what="make a user", remedy="run it as the image's user, or take a base image that has the package"),
        ),
        ("locale-gen", Effect(what="generate locales", remedy="C.UTF-8, which is there without")),
        ("ssh-keygen", Effect(what="make keys", remedy="make them where the container runs; a key in an image is everybody's")),
        ("setcap", Effect(what="give programs capabilities", remedy="--cap-add when the container is started")),
        ("dpkg-divert", Effect(what="put files in the place of others", remedy="a base image that has the package")),
        ("mktexlsr|updmap-sys|fmtutil-sys|update-texmf", Effect(what="build TeX's formats", remedy="a base image that has TeX")),
        ("ucf", Effect(what="write configuration files", remedy="those that are needed, in the project")),
    )
)


def list_effects(scripts: Mapping[str, str]) -> tuple[Effect, ...]:
    """What the scripts of one package, by their names, would do; empty where none of it matters."""
    text = "\n".join(_list_commands(scripts))
    found = [effect for pattern, effect in _EFFECTS if pattern.search(text)]
    links = tuple(dict.fromkeys(_LINKS.findall(text)))
    if links:
        shown = ", ".join(links[:3]) + (f" and {len(links) - 3} more" if len(links) > 3 else "")
        found.append(Effect(what=f"link {shown}", remedy="call the program by its own name, or bring the link in the project"))
    return tuple(found) if any(effect.matters for effect in found) else ()


def summarise_effects(effects: tuple[Effect, ...]) -> tuple[str, str]:
    """What they would do, and what to try instead."""
    remedies = dict.fromkeys(effect.remedy for effect in effects if effect.remedy)
    return ", ".join(effect.what for effect in effects), "; ".join(remedies)


def _list_commands(scripts: Mapping[str, str]) -> list[str]:
    """The lines that do something; those that continue are joined."""
    lines = [line.strip() for text in scripts.values() for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
