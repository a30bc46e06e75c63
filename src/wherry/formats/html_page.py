"""Writes HTML: elements out of texts that may be anybody's, and a page that loads nothing and runs nothing. Pure.

Rules: a `str` is text and is escaped, `Html` is markup and is not; nothing else makes `Html` but `tag` and `join`. Characters
that cannot be seen, or that turn the direction of a line around, are shown as replaced: a path cannot pass for another one.
The page forbids scripts and every request (Content-Security-Policy), should something slip through all the same.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


class Html(str):
    """Markup, as it is to stand in the page."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | None) -> Html:
    """An element. Attributes that are None are left out; ``class_`` and ``aria_label`` stand for ``class`` and ``aria-label``."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escape(value)}"' for key, value in attributes.items() if value is not None
    )
    return Html(f"<{name}{told}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """One after the other; what is no markup is escaped."""
    return Html("".join(part if isinstance(part, Html) else _escape(part) for part in parts))


def _escape(text: str) -> str:
    if not text.isprintable():
        text = "".join("\ufffd" if unicodedata.category(letter) in _UNSEEN and letter != "\n" else letter for letter in text)
    return html.escape(text)


def render_page(title: str, style: str, body: Html) -> str:
    """The whole document. `style` is a style sheet of ours."""
    head = join(
        (
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_escape(_POLICY)}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            tag("title", title),
            tag("style", Html(style)),
        )
    )
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'
