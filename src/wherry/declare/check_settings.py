"""The grammar of ``[check]``: a decoded table to `CheckSettings`, checked one by one.

Rules: every key is optional; an unknown key is an error; a silence without a reason is one, too. Whether a rule is known is for
the check to say. Reads no other file than the one that holds the project's table, so that a known image is checked quickly.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.declare.targets import read_own_table
from wherry.errors import DeclarationError
from wherry.formats.tariff import parse_size
from wherry.model.check_settings import CheckSettings, Silence, SizeLimits

_KEYS = ("size-budget", "max-layer", "ignore")
_OF_SILENCE = ("rule", "where", "reason")
_EXAMPLE = 'rule = "setuid", reason = "the base of our site has them"'


def read_check_settings(root: Path) -> CheckSettings:
    """What the project at `root` says of its checks."""
    table, origin = read_own_table(root)
    return parse_check(table.get("check", {}), origin)


def parse_check(table: object, origin: str) -> CheckSettings:
    """Check ``[check]``. `origin` names the file in every `DeclarationError`."""
    where = f"{origin}: check"
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=where, hint="[check]")
    _check_keys(table, _KEYS, where)
    ignored = table.get("ignore", ())
    if not isinstance(ignored, list | tuple):
        raise DeclarationError("not a list of tables", where=f"{where}.ignore", hint=f"[[check.ignore]] {_EXAMPLE}")
    limits = SizeLimits(
        budget=_parse_limit(table.get("size-budget"), f"{where}.size-budget"),
        layer=_parse_limit(table.get("max-layer"), f"{where}.max-layer"),
    )
    silences = tuple(_parse_silence(one, f"{where}.ignore[{number}]") for number, one in enumerate(ignored))
    return CheckSettings(limits=limits, silences=silences)


def _check_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key.lower().replace("_", "-"), known, n=1, cutoff=0.6)
            hint = f"{near[0]} instead of {key}" if near else f"one of {', '.join(known)}"
            raise DeclarationError(f"unknown key {key!r}", where=where, hint=hint)


def _parse_limit(value: object, where: str) -> int | None:
    if value is None:
        return None
    try:
        size = parse_size(value) if isinstance(value, str) else value
    except ValueError:
        size = 0
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise DeclarationError(f"{value!r} is no size", where=where, hint='such as "300 MB"')
    return size


def _parse_silence(table: object, where: str) -> Silence:
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=where, hint=f"[[check.ignore]] {_EXAMPLE}")
    _check_keys(table, _OF_SILENCE, where)
    texts = {key: table.get(key, "") for key in _OF_SILENCE}
    for key, text in texts.items():
        if not isinstance(text, str) or (key != "where" and not text.strip()):
            what = "no reason is given" if key == "reason" and not text else f"{text!r} is no {key}"
            raise DeclarationError(what, where=where, hint=_EXAMPLE)
    return Silence(rule=texts["rule"], reason=" ".join(texts["reason"].split()), where=texts["where"])
