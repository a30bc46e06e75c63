"""Tariffs: the published figure, rounding, the included volume, and files that are none."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.deliver.costs import GB, MB, Tariff, flat_tariff, fleet_cost, parse_size, parse_tariff, read_tariff
from wherry.errors import DeclarationError, UsageError

FULL = b"""
name = "Carrier IoT"
currency = "EUR"
price_per_mb = 0.025
included = "5 MB"
rounding = "10 KB"
session_minimum = "25 kB"
"""


def test_the_published_story() -> None:
    assert fleet_cost(60 * MB, 1_000, flat_tariff()).rounded == Decimal("1500.00")
    assert fleet_cost(60 * MB, 100_000, flat_tariff()).rounded == Decimal("150000.00")


def test_a_full_tariff_is_read() -> None:
    assert parse_tariff(FULL) == Tariff(
        name="Carrier IoT",
        currency="EUR",
        price_per_gb=Decimal("25.000"),
        included=5_000_000,
        rounding=10_000,
        session_minimum=25_000,
    )


def test_a_tariff_needs_only_a_price_and_is_called_as_its_file(tmp_path: Path) -> None:
    file = tmp_path / "sim.toml"
    file.write_text('price_per_gb = "0.09"\n')
    assert read_tariff(file) == Tariff(name="sim", price_per_gb=Decimal("0.09"))


@pytest.mark.parametrize(
    ("moved", "sessions", "billed"),
    [(0, 1, 0), (1, 1, 30_000), (25_001, 1, 30_000), (30_001, 1, 40_000), (60_000, 2, 60_000), (60_001, 2, 70_000), (1, 3, 90_000)],
)
def test_each_session_is_rounded_up(moved: int, sessions: int, billed: int) -> None:
    assert fleet_cost(moved, 1, parse_tariff(FULL), sessions=sessions).billed == billed


def test_the_included_volume_is_free() -> None:
    cost = fleet_cost(6 * MB, 10, parse_tariff(FULL))
    assert (cost.billed, cost.charged, cost.rounded, cost.currency) == (6 * MB, MB, Decimal("0.25"), "EUR")
    assert fleet_cost(5 * MB, 10, parse_tariff(FULL)).amount == 0


def test_decimals_stay_exact() -> None:
    tariff = parse_tariff(b"price_per_gb = 0.1")
    assert fleet_cost(3 * GB, 1, tariff).amount == Decimal("0.3")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0 B", 0),
        ("10 KB", 10_000),
        ("10kB", 10_000),
        ("10 KiB", 10_240),
        ("1.5 MB", 1_500_000),
        ("1.0001 KB", 1_001),
        ("2 GiB", 2 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "10", "10 XB", "-1 B", "1e3 B", "10 Kb", "999999999999999999 TB", "٣ KB", "1 KB 2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a size|too large"):
        parse_size(text)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        (b"", "tariff"),
        (b"price_per_mb = 1\nprice_per_gb = 1", "tariff"),
        (b"price = 1", "tariff: price"),
        (b"price_per_gb = -1", "tariff: price_per_gb"),
        (b"price_per_gb = nan", "tariff: price_per_gb"),
        (b"price_per_gb = inf", "tariff: price_per_gb"),
        (b"price_per_gb = true", "tariff: price_per_gb"),
        (b"price_per_gb = 1e-999999", "tariff: price_per_gb"),
        (b"price_per_gb = 1e999999", "tariff: price_per_gb"),
        (b"price_per_gb = '$25'", "tariff: price_per_gb"),
        (b"price_per_gb = [25]", "tariff: price_per_gb"),
        (b"price_per_gb = 25\nincluded = '5 carrots'", "tariff: included"),
        (b"price_per_gb = 25\nincluded = -5", "tariff: included"),
        (b"price_per_gb = 25\nincluded = 1.5", "tariff: included"),
        (b"price_per_gb = 25\nrounding = 0", "tariff: rounding"),
        (b"price_per_gb = 25\nsession_minimum = true", "tariff: session_minimum"),
        (b"price_per_gb = 25\nname = ''", "tariff: name"),
        (b'price_per_gb = 25\ncurrency = "a\\u001b[0m"', "tariff: currency"),
        (b"price_per_gb = ", "tariff"),
        (b"\xff\xfe", "tariff"),
        (b"#" * 70_000, "tariff"),
        (b"a = " + b"[" * 50_000, "tariff"),
    ],
)
def test_what_is_no_tariff(document: bytes, where: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_tariff(document)
    assert caught.value.where == where


def test_a_tariff_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="No such file"):
        read_tariff(tmp_path / "none.toml")


@pytest.mark.parametrize(("moved", "devices", "sessions"), [(-1, 1, 1), (1, -1, 1), (1, 1, 0), (10**19, 1, 1), (1, 10**13, 1)])
def test_what_is_no_fleet(moved: int, devices: int, sessions: int) -> None:
    with pytest.raises(UsageError):
        fleet_cost(moved, devices, flat_tariff(), sessions=sessions)


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity", "1e20"])
def test_what_is_no_price(price: str) -> None:
    with pytest.raises(UsageError):
        flat_tariff(Decimal(price))


SIZES = st.integers(0, 10**13)
TARIFFS = st.builds(
    Tariff,
    name=st.just("drawn"),
    price_per_gb=st.decimals(0, 10_000, places=4),
    included=SIZES,
    rounding=st.integers(1, 10**6),
    session_minimum=st.integers(0, 10**6),
)


@given(SIZES, SIZES, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 50), TARIFFS)
def test_law_costs_never_fall_with_bytes_or_devices(a: int, b: int, few: int, more: int, sessions: int, tariff: Tariff) -> None:
    small, large = sorted((a, b))
    low, high = sorted((few, more))
    cost = fleet_cost(small, low, tariff, sessions=sessions)
    assert cost.amount <= fleet_cost(large, low, tariff, sessions=sessions).amount
    assert cost.amount <= fleet_cost(small, high, tariff, sessions=sessions).amount
    assert 0 <= cost.charged <= cost.billed
    assert cost.billed >= small
    assert cost.billed % tariff.rounding == 0


@given(st.binary(max_size=300))
def test_law_any_bytes_are_a_tariff_or_a_declaration_error(data: bytes) -> None:
    with contextlib.suppress(DeclarationError):
        parse_tariff(data)
