"""Whose a file of an image is: what the distribution or a package manager laid out is theirs, the rest is the project's own.

``/usr/src`` and ``/usr/app`` are where many images keep their code.
"""

from __future__ import annotations

import re

_OTHERS = re.compile(
    r"(?:usr/(?!src/|app/|local/(?:src|app)/)|lib/|lib64/|bin/|sbin/|boot/|proc/|sys/|dev/)|var/(?:lib|cache|log)/"
    r"|etc/(?:ssl/certs|ca-certificates|alternatives|apt/trusted[^/]*)/"
    r"|(?:.*/)?(?:site|dist)-packages/|(?:.*/)?lib/python3(?:\.\d+)?/|(?:.*/)?(?:conda-meta|pkgs)/"
)


def is_own(path: str) -> bool:
    """Whether a file is the project's own, or a person's. `path` has no slash at its beginning."""
    return _OTHERS.match(path) is None
