"""How many devices at which tariff: the options of commands that show money, and how a price is told."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from wherry.deliver.costs import PUBLISHED_PRICE_PER_GB, Tariff, flat_tariff, fleet_cost, read_tariff
from wherry.errors import UsageError

Fleet = tuple[int, Tariff]
Devices = Annotated[int | None, typer.Option("--devices", metavar="N", min=0, help="How many devices pull it: shows the cost.")]
TariffFile = Annotated[Path | None, typer.Option("--tariff", metavar="FILE", help="A tariff file (docs/reference/tariff.md).")]
PricePerGb = Annotated[
    str | None, typer.Option("--price-per-gb", metavar="PRICE", help="Instead of a tariff: USD per 10^9 bytes. [25]")
]


def read_fleet(devices: int | None, file: Path | None, price: str | None) -> Fleet | None:
    """How many devices at which tariff; None where nobody asked for a cost."""
    if file is not None and price is not None:
        raise UsageError("--tariff and --price-per-gb exclude each other")
    if devices is None and file is None and price is None:
        return None
    try:
        flat = flat_tariff(Decimal(price) if price is not None else PUBLISHED_PRICE_PER_GB)
    except InvalidOperation as error:
        raise UsageError(f"not a number: {price!r}", where="--price-per-gb", hint="such as 25 or 0.09") from error
    return (1 if devices is None else devices, read_tariff(file) if file else flat)


def tell_price(size: int, fleet: Fleet | None) -> tuple[str, ...]:
    """What so many bytes to each device cost, as the cells of a table: none where nobody asked."""
    if fleet is None:
        return ()
    devices, tariff = fleet
    cost = fleet_cost(size, devices, tariff)
    return (f"{cost.rounded:,f} {cost.currency} for {devices:,} device{'s' * (devices != 1)} ({tariff.name})",)
