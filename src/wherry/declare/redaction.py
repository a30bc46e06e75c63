"""What may be shown of a line that somebody wrote: never a user name, a password or a token in a URL.

Rule: every message about a requirements file or an index goes through `redact`.
"""

from __future__ import annotations

import re

_UP_TO_AT = re.compile(r"(?<=//)\S*@")  # more than the user's part: passwords hold slashes and at signs
_QUERY = re.compile(r"\?[^\s#;\"']*")
_LIMIT = 120


def redact(text: str) -> str:
    """`text` without the credentials and queries of its URLs, on one line, cut to a readable length."""
    shown = _QUERY.sub("?…", _UP_TO_AT.sub("…@", text))
    shown = "".join(char if char.isprintable() else "�" for char in shown)
    return shown if len(shown) <= _LIMIT else shown[: _LIMIT - 1] + "…"
