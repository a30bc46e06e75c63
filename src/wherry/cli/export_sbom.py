"""`wherry export sbom`: what an image is made of, by name and digest, for scanners and customers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.talk import say
from wherry.errors import LockError, UsageError
from wherry.model.bill import BillForm

EXAMPLES = render_examples(
    ("wherry export sbom > anomaly.spdx.json", ""),
    ("wherry export sbom --format cyclonedx -o anomaly.cdx.json", ""),
    before="It follows from wherry.lock alone: the same lock, the same bytes.",
)


def register(app: typer.Typer) -> None:
    app.command("sbom", epilog=EXAMPLES)(export_sbom)


def export_sbom(
    form: Annotated[BillForm, typer.Option("--format", help="SPDX 2.3 or CycloneDX 1.6.")] = BillForm.SPDX,
    platform: Annotated[str, typer.Option("--platform", metavar="OS/ARCH", help="Of this platform, where the lock has more.")] = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it; else stdout.")] = None,
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="The project's folder.")] = Path(),
) -> None:
    """Write the bill of materials of the locked image.

    It names each locked package with version, file, sha256 and package URL, and what asks for it. Licences, code, models and
    what a base image holds are not in a lock, and are not named.
    """
    from wherry.declare.project import read_declaration
    from wherry.formats.bill import draw_bill, render_bill
    from wherry.lock.storage import LOCKFILE, read_lock
    from wherry.model.platform import Platform
    from wherry.store.posix import write_atomically
    from wherry.version import VERSION

    lock = read_lock(project)
    if lock is None:
        raise LockError("there is no lock", where=str(project / LOCKFILE), hint="wherry lock")
    if not platform and len(lock.platforms) != 1:
        have = ", ".join(str(one.platform) for one in lock.platforms)
        raise UsageError(f"the lock has several platforms: {have}", where="--platform", hint="one of them")
    chosen = Platform.parse(platform, "--platform") if platform else lock.platforms[0].platform
    name = read_declaration(project, os.environ).name
    bill = draw_bill(name, lock, chosen, creator="wherry", version=VERSION)
    raw = render_bill(bill, form)
    if output is None:
        print(raw.decode(), end="")
    else:
        write_atomically(output, raw)
        say(f"wrote {output}: {len(bill.components)} packages")
