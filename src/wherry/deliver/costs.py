"""What moving bytes to a fleet costs, by a tariff (docs/reference/tariff.md). Pure but for `read_tariff`; decimal throughout.

A tariff bills each device by itself and an update as sessions: every session is rounded up to the unit and to the minimum, the
included volume is taken off, the rest is multiplied by the price. Sizes are decimal as carriers bill them: 1 GB is 10^9 bytes.
Refused: unknown keys, negative or unbounded figures, a tariff without a price.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from pathlib import Path

from wherry.errors import DeclarationError, UsageError

MB = 10**6
GB = 10**9
# What a published account of monthly model updates over a mobile network paid.
PUBLISHED_PRICE_PER_GB = Decimal(25)
MAX_TARIFF = 64 << 10
_MAX_PRICE = Decimal(10) ** 9
_MAX_SIZE = 10**18
_MAX_DEVICES = 10**12
_EXACT = Context(prec=200)  # more digits than the largest figures above can give
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """Prices in `currency`; `included` bytes per device and month; `rounding` and `session_minimum` bytes per session."""

    name: str
    price_per_gb: Decimal
    currency: str = "USD"
    included: int = 0
    rounding: int = 1
    session_minimum: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One update of a fleet. `billed` is a device's bytes after rounding, `charged` what the included volume leaves of them."""

    devices: int
    moved: int
    billed: int
    charged: int
    amount: Decimal
    currency: str

    @property
    def total_moved(self) -> int:
        return self.moved * self.devices

    @property
    def rounded(self) -> Decimal:
        """The amount with two decimals, half a cent upwards."""
        return self.amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP, context=_EXACT)


def flat_tariff(price_per_gb: Decimal = PUBLISHED_PRICE_PER_GB) -> Tariff:
    """A price for every byte and nothing else."""
    if not price_per_gb.is_finite() or not 0 <= price_per_gb <= _MAX_PRICE:
        raise UsageError(f"a price of {price_per_gb} per GB", where="--price-per-gb", hint="a number such as 25 or 0.09")
    return Tariff(name=f"{price_per_gb:f} per GB", price_per_gb=price_per_gb)


def fleet_cost(bytes_per_device: int, devices: int, tariff: Tariff, *, sessions: int = 1) -> Cost:
    """The cost of one update that moves so many bytes to each of so many devices, spread evenly over `sessions`.

    The whole included volume is taken to be left for it. No bytes, no session, no cost.
    """
    if not 0 <= bytes_per_device <= _MAX_SIZE or not 0 <= devices <= _MAX_DEVICES or sessions < 1:
        raise UsageError(f"{bytes_per_device} bytes to {devices} devices in {sessions} sessions: not a fleet", where="--devices")
    billed = _bill(bytes_per_device, sessions, tariff)
    charged = max(0, billed - tariff.included)
    return Cost(
        devices=devices,
        moved=bytes_per_device,
        billed=billed,
        charged=charged,
        amount=_EXACT.divide(_EXACT.multiply(Decimal(charged * devices), tariff.price_per_gb), Decimal(GB)),
        currency=tariff.currency,
    )


def _bill(moved: int, sessions: int, tariff: Tariff) -> int:
    """Each session rounded up by itself; the last ones carry what an even split leaves over."""
    if moved == 0:
        return 0
    each, longer = divmod(moved, sessions)
    return longer * _round_up(each + 1, tariff) + (sessions - longer) * _round_up(each, tariff)


def _round_up(size: int, tariff: Tariff) -> int:
    unit = tariff.rounding
    return -(-max(size, tariff.session_minimum) // unit) * unit


def read_tariff(path: Path) -> Tariff:
    """Read a tariff file. One that cannot be read, or is no tariff, is a `DeclarationError` naming the key."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TARIFF + 1)
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=str(path), hint="docs/reference/tariff.md") from error
    return parse_tariff(data, path.name)


def parse_tariff(data: bytes, where: str = "tariff") -> Tariff:
    """Read a tariff: TOML with prices and sizes (docs/reference/tariff.md)."""
    if len(data) > MAX_TARIFF:
        raise DeclarationError(f"larger than {MAX_TARIFF} bytes: not a tariff", where=where)
    try:
        document = tomllib.loads(data.decode("utf-8"), parse_float=Decimal)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise DeclarationError(f"not TOML: {str(error)[:200]}", where=where, hint="docs/reference/tariff.md") from error
    if unknown := sorted(document.keys() - set(_KEYS)):
        raise DeclarationError("unknown key", where=f"{where}: {unknown[0]}", hint=f"one of {', '.join(_KEYS)}")
    return Tariff(
        name=_read_text(document, "name", where, Path(where).stem),
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
    if size > _MAX_SIZE:
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
    if not price.is_finite() or not 0 <= price <= _MAX_PRICE or (price and price.adjusted() < -30):
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
    if not least <= size <= _MAX_SIZE:
        raise DeclarationError(f"not a size: {str(value)[:40]!r}", where=f"{where}: {key}", hint='"10 KB", or a number of bytes')
    return size


def _read_text(document: Mapping[str, object], key: str, where: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str) or not value or len(value) > 80 or not value.isprintable():
        raise DeclarationError("not a short text", where=f"{where}: {key}")
    return value
