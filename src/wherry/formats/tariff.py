"""Tariff files (docs/reference/tariff.md): TOML to a `Tariff`. Refused: unknown keys, negative or unbounded figures, a
tariff without a price, and what is longer than a tariff can be."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from pathlib import PurePath

from wherry.errors import DeclarationError
from wherry.model.tariff import GB, MAX_PRICE, MAX_SIZE, MB, Tariff

MAX_TARIFF = 64 << 10
_KEYS = ("name", "currency", "price_per_mb", "price_per_gb", "included", "rounding", "session_minimum")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([kKMGT]i?)?B")
_FACTOR = {
    "": 1,
    "k": 10**3,
    "M": MB,
    "G": GB,
    "T": 10**12,
    "ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}


def parse_tariff(data: bytes, where: str = "tariff") -> Tariff:
    """Read a tariff: TOML with prices and sizes (docs/reference/tariff.md)."""
    if len(data) > MAX_TARIFF:
        raise DeclarationError(f"larger than {MAX_TARIFF} bytes: not a tariff", where=where)
    try:
        document = tomllib.loads(data.decode("utf-8"), parse_float=Decimal)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise DeclarationError(f"not TOML: {str(error)[:200]}", where=where, hint="docs/reference/tariff.md") from error
    return parse_tariff_table(document, where)


def parse_tariff_table(document: Mapping[str, object], where: str) -> Tariff:
    """A tariff that is a table of another document; its numbers with a fraction are `Decimal`, or text."""
    if unknown := sorted(document.keys() - set(_KEYS)):
        raise DeclarationError("unknown key", where=f"{where}: {unknown[0]}", hint=f"one of {', '.join(_KEYS)}")
    return Tariff(
        name=_read_text(document, "name", where, PurePath(where).stem),
        currency=_read_text(document, "currency", where, "USD"),
        price_per_gb=_read_price(document, where),
        included=_read_size(document, "included", where, 0),
        rounding=_read_size(document, "rounding", where, 1, least=1),
        session_minimum=_read_size(document, "session_minimum", where, 0),
    )


def parse_size(text: str) -> int:
    """``10 KB`` is 10,000 bytes, ``10 KiB`` 10,240; fractions of a byte round up. `ValueError` if it is no size."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"not a size: {text[:40]!r}")
    factor = _FACTOR[(found[2] or "").replace("K", "k")]
    size = int((Decimal(found[1]) * factor).to_integral_value(ROUND_CEILING))
    if size > MAX_SIZE:
        raise ValueError(f"too large: {text[:40]!r}")
    return size


def _read_price(document: Mapping[str, object], where: str) -> Decimal:
    given = [key for key in ("price_per_mb", "price_per_gb") if key in document]
    if len(given) != 1:
        what = "two prices" if given else "no price"
        raise DeclarationError(what, where=where, hint='price_per_mb = "0.025", or price_per_gb = 25')
    key = given[0]
    value = document[key]
    try:
        price = Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        price = Decimal("NaN")
    # The exponent, too: 1e-999999 is finite and would make every product as long.
    if not price.is_finite() or not 0 <= price <= MAX_PRICE or (price and price.adjusted() < -30):
        raise DeclarationError(f"not a price: {str(value)[:40]!r}", where=f"{where}: {key}", hint='a number, such as "0.025"')
    return price * (GB // MB) if key == "price_per_mb" else price


def _read_size(document: Mapping[str, object], key: str, where: str, default: int, least: int = 0) -> int:
    value = document.get(key, default)
    size = -1
    if isinstance(value, str):
        try:
            size = parse_size(value)
        except ValueError:
            size = -1
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    if not least <= size <= MAX_SIZE:
        raise DeclarationError(f"not a size: {str(value)[:40]!r}", where=f"{where}: {key}", hint='"10 KB", or a number of bytes')
    return size


def _read_text(document: Mapping[str, object], key: str, where: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str) or not value or len(value) > 80 or not value.isprintable():
        raise DeclarationError("not a short text", where=f"{where}: {key}")
    return value
