"""What moving bytes to a fleet costs: tariffs from files, and the arithmetic of `wherry.model.tariff`."""

from __future__ import annotations

from pathlib import Path

from wherry.errors import DeclarationError
from wherry.formats.tariff import MAX_TARIFF, parse_size, parse_tariff
from wherry.model.tariff import GB, MB, PUBLISHED_PRICE_PER_GB, Cost, Tariff, flat_tariff, fleet_cost

__all__ = [
    "GB",
    "MB",
    "PUBLISHED_PRICE_PER_GB",
    "Cost",
    "Tariff",
    "flat_tariff",
    "fleet_cost",
    "parse_size",
    "parse_tariff",
    "read_tariff",
]


def read_tariff(path: Path) -> Tariff:
    """Read a tariff file. One that cannot be read, or is no tariff, is a `DeclarationError` naming the key."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TARIFF + 1)
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=str(path), hint="docs/reference/tariff.md") from error
    return parse_tariff(data, path.name)
