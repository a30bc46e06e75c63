"""Tariffs and what moving bytes costs by them (docs/reference/tariff.md). Pure; decimal throughout.

A tariff bills each device by itself and an update as sessions: every session is rounded up to the unit and to the minimum, the
included volume is taken off, the rest is multiplied by the price. Sizes are decimal as carriers bill them: 1 GB is 10^9 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

from wherry.errors import UsageError

MB = 10**6
GB = 10**9
# What a published account of monthly model updates over a mobile network paid.
PUBLISHED_PRICE_PER_GB = Decimal(25)
MAX_PRICE = Decimal(10) ** 9
MAX_SIZE = 10**18
_MAX_DEVICES = 10**12
_EXACT = Context(prec=200)  # more digits than the largest figures above can give


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
    if not price_per_gb.is_finite() or not 0 <= price_per_gb <= MAX_PRICE:
        raise UsageError(f"a price of {price_per_gb} per GB", where="--price-per-gb", hint="a number such as 25 or 0.09")
    return Tariff(name=f"{price_per_gb:f} per GB", price_per_gb=price_per_gb)


def fleet_cost(bytes_per_device: int, devices: int, tariff: Tariff, *, sessions: int = 1) -> Cost:
    """The cost of one update that moves so many bytes to each of so many devices, spread evenly over `sessions`.

    The whole included volume is taken to be left for it. No bytes, no session, no cost.
    """
    if not 0 <= bytes_per_device <= MAX_SIZE or not 0 <= devices <= _MAX_DEVICES or sessions < 1:
        raise UsageError(f"{bytes_per_device} bytes to {devices} devices in {sessions} sessions: not a fleet", where="--devices")
    billed = _bill(bytes_per_device, sessions, tariff)
    charged = max(0, billed - tariff.included)
    return Cost(
        devices=devices,
        moved=bytes_per_device,
        billed=billed,
        charged=charged,
        amount=_price(charged * devices, tariff),
        currency=tariff.currency,
    )


def _bill(moved: int, sessions: int, tariff: Tariff) -> int:
    """Each session rounded up by itself; the last ones carry what an even split leaves over."""
    if moved == 0:
        return 0
    each, longer = divmod(moved, sessions)
    return longer * bill_session(each + 1, tariff) + (sessions - longer) * bill_session(each, tariff)


def price_volume(billed: int, tariff: Tariff) -> Decimal:
    """What a device pays for a month of so many billed bytes."""
    return _price(max(0, billed - tariff.included), tariff)


def bill_session(moved: int, tariff: Tariff) -> int:
    """What a session that moved so many bytes is billed as, before the included volume."""
    unit = tariff.rounding
    return -(-max(moved, tariff.session_minimum) // unit) * unit


def _price(charged: int, tariff: Tariff) -> Decimal:
    return _EXACT.divide(_EXACT.multiply(Decimal(charged), tariff.price_per_gb), Decimal(GB))
