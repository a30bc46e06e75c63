"""Templates to answers. Whatever they put out is escaped, and made visible first (`visible_text`).

A page is told apart from its former self by its `ETag`: the script that keeps it live asks whether there is a new one, and mostly
there is none. Without the script a page is whole all the same.
"""

from __future__ import annotations

import hashlib
import time
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from wherry.model.size import format_size
from wherry.ui.visible_text import make_visible

_DIGITS = 12  # of a digest, for people


def render_page(
    request: Request, template: str, *, page: str = "", every: int | None = None, status: int = 200, **values: Any
) -> Response:
    """The page as it is now, or word that it has not changed. `every` are seconds after which it may be another one."""
    # Not `request.url`: it is made with the host's name, and may be none where that is not what it should be.
    path, query = quote(request.scope["path"]), request.scope["query_string"].decode("latin-1")
    here, base = f"{path}?{query}" if query else path, f"/{path.split('/')[1]}/"
    body = load_templates().get_template(template).render(values, page=page, every=every, here=here, base=base).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, status_code=status, media_type="text/html", headers={"ETag": tag})


@cache
def load_templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("wherry.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "size": format_size,
        "clock": format_clock,
        "length_of": format_length,
        "money": format_money,
        "number": format_number,
        "short": shorten_digest,
    }
    return templates


def _finalize(value: object) -> object:
    if value is None:
        return ""
    return make_visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def format_clock(seconds: float) -> str:
    """A time in seconds since 1970, on this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def format_length(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02}"


def format_money(amount: float) -> str:
    return "under 0.01" if 0 < amount < 0.01 else f"{amount:.2f}"


def format_number(value: float) -> str:
    return f"{value:.5g}"


def shorten_digest(text: str) -> str:
    """The first digits of a digest; other texts as they are."""
    return text[: len("sha256:") + _DIGITS] if text.startswith("sha256:") else text
