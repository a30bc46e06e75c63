"""The grammar of ``[[sweeps.NAME.inputs]]``: what is downloaded before a task begins, and where the task finds it.

    from = "az://data/train-{fold}.parquet"     s3://, gs://, file:///, https://; with ``/`` at the end all that lies in a folder
    to = "train.parquet"                        below $WHERRY_INPUTS
    sha256 = "9f86d0…"                          or
    manifest = "data.sha256"                    a file of the project, as sha256sum writes it: names as they are in from's folder

Rules: no credential stands in an address; an address with parameters or a folder's takes a manifest; no two inputs share a path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherry.declare.paths import relative_path
from wherry.declare.targets import check_known
from wherry.errors import DeclarationError
from wherry.formats.object_address import AddressError, is_plain_path, parse_address
from wherry.model.sweep import SweepInput, list_placeholders

_KEYS = ("from", "to", "sha256", "manifest")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_EXAMPLE = '{ from = "az://data/train.parquet", to = "train.parquet" }'


def parse_inputs(value: object, names: tuple[str, ...], where: str, root: Path) -> tuple[SweepInput, ...]:
    """Check the inputs of a sweep whose parameters have these names; manifests are read below `root`."""
    if not isinstance(value, list):
        raise DeclarationError("not a list of tables", where=where, hint=f"[{_EXAMPLE}]")
    found = tuple(_parse_input(table, names, f"{where}[{position}]", root) for position, table in enumerate(value))
    for position, one in enumerate(found):
        for other in found[:position]:
            if f"{one.target}/".startswith(f"{other.target}/") or f"{other.target}/".startswith(f"{one.target}/"):
                raise DeclarationError(f"{one.target} and {other.target} are one place", where=f"{where}[{position}].to")
    return found


def _parse_input(table: object, names: tuple[str, ...], where: str, root: Path) -> SweepInput:
    if not isinstance(table, Mapping):
        raise DeclarationError("not a table", where=where, hint=_EXAMPLE)
    check_known(table, _KEYS, where)
    source, target = _parse_text(table, "from", where), _parse_text(table, "to", where)
    filled = _check_source(source, names, f"{where}.from")
    return SweepInput(
        source=source,
        target=relative_path(target, f"{where}.to"),
        digests=_read_digests(table, source, varied=filled != source, where=where, root=root),
    )


def _parse_text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise DeclarationError(f"{key} what?", where=where, hint=_EXAMPLE)
    return value


def _check_source(source: str, names: tuple[str, ...], where: str) -> str:
    """The address with something in the place of parameters."""
    known = {*names, "task"}
    try:
        used = tuple(list_placeholders((source,)))
    except ValueError:
        raise DeclarationError("a brace that is no parameter's", where=where, hint="{name}, and {{ and }} for braces") from None
    if unknown := [name for name in used if name not in known]:
        raise DeclarationError(f"no parameter {unknown[0]!r}", where=where, hint=", ".join(sorted(known)))
    filled = SweepInput(source=source, target="").address_of(dict.fromkeys(known, "x"))
    try:
        parse_address(filled)
    except AddressError as error:
        raise DeclarationError(error.what, where=where, hint=error.hint) from None
    return filled


def _read_digests(table: Mapping[str, Any], source: str, *, varied: bool, where: str, root: Path) -> tuple[tuple[str, str], ...]:
    if "sha256" in table and "manifest" in table:
        raise DeclarationError("both a digest and a manifest", where=where, hint="one of them")
    if "manifest" in table:
        name = relative_path(_parse_text(table, "manifest", where), f"{where}.manifest")
        return _read_manifest(root / name, f"{where}.manifest")
    if "sha256" not in table:
        return ()
    found = _DIGEST.fullmatch(str(table["sha256"]))
    if found is None:
        raise DeclarationError("no sha256", where=f"{where}.sha256", hint="64 hexadecimal digits, as sha256sum prints")
    if varied or source.endswith("/"):
        raise DeclarationError("one digest for many files", where=f"{where}.sha256", hint='manifest = "data.sha256"')
    return ((source.rpartition("/")[2], found[1]),)


def _read_manifest(path: Path, where: str) -> tuple[tuple[str, str], ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DeclarationError(f"{path.name} cannot be read: {error.strerror}", where=where) from error
    except UnicodeDecodeError as error:
        raise DeclarationError(f"{path.name} is no text: {error}", where=where) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        matched = _LINE.fullmatch(line)
        name = matched[2].removeprefix("./") if matched else ""
        if matched is None or not is_plain_path(name) or name in found:
            raise DeclarationError("not a digest and a name", where=f"{path.name}: line {number}", hint="sha256sum * > FILE")
        found[name] = matched[1]
    if not found:
        raise DeclarationError(f"{path.name} is empty", where=where, hint="sha256sum * > FILE")
    return tuple(sorted(found.items()))
