"""`wherry image rebase`: an image's own layers on another base, or new files on the layers that devices have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.image import image_app
from wherry.cli.options import AsJson, DryRun, PlainHttp, complete_name, parse_platforms, parse_tag, platform_option
from wherry.cli.talk import format_size, print_json, say, show, show_progress
from wherry.errors import CheckError, UsageError

if TYPE_CHECKING:
    from wherry.model.platform import Platform
    from wherry.rebasing import RebasePlan, Rebaser

REBASE_SCHEMA = 1
_ONTO = typer.Option(metavar="BASE", help="The new base: a name here, a reference, an archive, an OCI layout.", show_default=False)
_FROM = typer.Option("--from", metavar="BASE", help="The base that it is on now. [the image says]", show_default=False)
_FORMER = typer.Option("--from-image", metavar="FORMER", help="The image that devices have; its layers stay.", show_default=False)
_TAKE = typer.Option("--take", metavar="PATH", help="What of IMAGE goes on FORMER; may be given again.", show_default=False)
_TAG = typer.Option("--tag", "-t", metavar="NAME[:TAG]", help="Name the result so. [as IMAGE]", show_default=False)
_IGNORE = typer.Option("--ignore", metavar="RULE[:SUBJECT]", help="Leave out findings; may be given again.", show_default=False)
EXAMPLES = render_examples(
    ("wherry image rebase app --onto base:2", "a newer base"),
    ("wherry image rebase app --onto base:2 --from base:1", "of any builder"),
    ("wherry image rebase new --from-image iot --take models", "only the model"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    image: str
    onto: str | None
    base: str | None
    former: str | None
    paths: Sequence[str]
    platforms: tuple[Platform, ...]


@image_app.command("rebase", epilog=EXAMPLES)
def rebase_command(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A name here, a reference, an archive; with --take also a folder.")],
    onto: Annotated[str | None, _ONTO] = None,
    base: Annotated[str | None, _FROM] = None,
    former: Annotated[str | None, _FORMER] = None,
    take: Annotated[list[str] | None, _TAKE] = None,
    tag: Annotated[str, _TAG] = "",
    platform: Annotated[list[str] | None, platform_option("Only this platform")] = None,
    ignore: Annotated[list[str] | None, _IGNORE] = None,
    plain_http: PlainHttp = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put an image's own layers on another base, or new files on the layers that devices have.

    Refused with 20 where libraries, symbol versions or the interpreter no longer fit.
    """
    if (onto is None) == (former is None) or bool(take) != (former is not None) or (base and not onto):
        raise UsageError("either --onto BASE, or --from-image FORMER with --take PATH", hint="wherry image rebase --help")
    wish = _Wish(image=image, onto=onto, base=base, former=former, paths=take or (), platforms=parse_platforms(platform))
    name = _choose_name(tag, image)
    # All that reads images, judges them and reaches registries loads for this command alone.
    from wherry.check.rules import parse_ignored
    from wherry.rebasing import Rebaser, keep_images
    from wherry.sources.registries import access_registries
    from wherry.store.disk import DiskStore
    from wherry.store.places import cache_path, store_path

    ignored = parse_ignored(ignore or ())
    store, cache = DiskStore(store_path(os.environ)), cache_path(os.environ)
    access = access_registries(os.environ, cache=cache, plain_http=plain_http)
    try:
        with show_progress() as progress, store.in_use():
            plans = [_leave_out(plan, ignored) for plan in _plan(Rebaser(store, cache, access, progress), wish)]
            fits = not any(plan.findings for plan in plans)
            kept = keep_images(store, plans, name) if fits and not dry_run else None
    finally:
        access.close()
    if as_json:
        print_json(_document(plans, name if kept else None, dry_run=dry_run))
    for plan in plans:
        _tell(plan, as_json=as_json)
    if not fits:
        raise typer.Exit(CheckError.exit_code)
    if kept and not as_json:
        say(f"named {name}")
        print(kept.digest)


def _plan(rebaser: Rebaser, wish: _Wish) -> tuple[RebasePlan, ...]:
    if wish.onto is not None:
        return rebaser.plan_rebase(wish.image, wish.onto, wish.base, wish.platforms)
    assert wish.former is not None  # noqa: S101 - one of the two is given
    return rebaser.plan_take(wish.image, wish.former, wish.paths, wish.platforms)


def _choose_name(tag: str, image: str) -> str:
    if tag:
        return parse_tag(tag) or tag
    if "@" in image or Path(image).exists():
        raise UsageError(f"what is the result called? {image} is no name", hint="-t NAME[:TAG]")
    return complete_name(image)


def _leave_out(plan: RebasePlan, ignored: frozenset[tuple[str, str]]) -> RebasePlan:
    kept = [one for one in plan.findings if (one.rule, "") not in ignored and (one.rule, one.subject) not in ignored]
    return replace(plan, findings=tuple(kept))


def _tell(plan: RebasePlan, *, as_json: bool) -> None:
    for note in plan.notes:
        say(f"{plan.platform}: {note}")
    if as_json:
        return
    if plan.findings:
        print(f"{plan.platform}: it does not fit")
        for finding in plan.findings:
            where = f" ({finding.where[0]})" if finding.where and finding.where[0] not in finding.what else ""
            show(f"  {finding.rule:<19}{finding.what}{where}")
            if finding.remedy:
                show(f"  {'':<19}try: {finding.remedy}")
        return
    say(
        f"{plan.platform}: {len(plan.own)} of {plan.layers} layers are its own; "
        f"whoever has the former image lacks {format_size(plan.moved)}"
    )


def _document(plans: Sequence[RebasePlan], name: str | None, *, dry_run: bool) -> dict[str, Any]:
    return {
        "schema": REBASE_SCHEMA,
        "name": name,
        "dry_run": dry_run,
        "images": [
            {
                "platform": str(plan.platform),
                "manifest": str(plan.descriptor.digest),
                "image_id": str(plan.image_id),
                "layers": plan.layers,
                "own_layers": [{"digest": str(layer.digest), "size": layer.size} for layer in plan.own],
                "moved": plan.moved,
                "notes": list(plan.notes),
                "findings": [
                    {"rule": one.rule, "subject": one.subject, "what": one.what, "where": list(one.where)} for one in plan.findings
                ],
            }
            for plan in plans
        ],
    }


def register(app: typer.Typer) -> None:
    """The command hangs on `image_app` once this module is loaded."""
