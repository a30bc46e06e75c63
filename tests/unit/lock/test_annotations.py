"""Who asked for what, as uv writes it."""

from __future__ import annotations

from wherry.lock.annotations import Pin, parse_pins

TEXT = """\
--index-url https://index.example/simple

cargo-box==1.0
    # via hull
hull==2.0+cpu
    # via
    #   -r /tmp/x/requirements.in
    #   -c /tmp/x/constraints.in
    #   mast
Mast[tall]==1.0 ; python_full_version >= '3.8' \\
    --hash=sha256:00
    # via project (pyproject.toml:row)
oar @ https://files.example/oar-1-py3-none-any.whl
rope==3
    # via
    #   -c /tmp/x/constraints.in
    #   cargo-box
"""


def test_parents_and_wishes() -> None:
    assert parse_pins(TEXT) == {
        "cargo-box": Pin(name="cargo-box", version="1.0", parents=frozenset({"hull"}), requested=False),
        "hull": Pin(name="hull", version="2.0+cpu", parents=frozenset({"mast"}), requested=True),
        "mast": Pin(name="mast", version="1.0", parents=frozenset(), requested=True),
        "oar": Pin(name="oar", version=None, parents=frozenset(), requested=True),
        "rope": Pin(name="rope", version="3", parents=frozenset({"cargo-box"}), requested=False),
    }


def test_nothing() -> None:
    assert parse_pins("") == {}
    assert parse_pins("# a comment\n    # via nobody\n") == {}
