"""`wherry channel`: the folder that devices read: what it has, whether it is whole, what of it may go."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.cli.channel_keys import keys_app, say_renewal
from wherry.cli.epilog import render_examples
from wherry.cli.key_options import ChannelFolder, KeyFolders, open_keys
from wherry.cli.options import AsJson, DryRun
from wherry.cli.talk import format_size, print_json, print_table, say, show_progress
from wherry.errors import TrustError, UsageError
from wherry.store.disk import DiskStore
from wherry.store.places import store_path

if TYPE_CHECKING:
    from wherry.deliver.channel_status import ChannelStatus

CHANNEL_SCHEMA = 1
_AGE = re.compile(r"([0-9]{1,6})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

channel_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Make, sign and look after the folder that devices read."
)
channel_app.add_typer(keys_app, name="keys")


def register(app: typer.Typer) -> None:
    app.add_typer(channel_app, name="channel")


@channel_app.command("status", epilog=render_examples(("wherry channel status fleet", "what is released, and until when it holds")))
def show_status(channel: ChannelFolder, keys: KeyFolders = None, as_json: AsJson = False) -> None:
    """Show a channel's release, keys, times and parcels."""
    from wherry.deliver.channel_status import read_status

    status = read_status(channel, open_keys(keys).read_pinned_root() if keys else None)
    now = datetime.now(UTC)
    if as_json:
        print_json(status_document(status, now))
        return
    _print_status(status, now)


@channel_app.command("check", epilog=render_examples(("wherry channel check fleet", "before it is copied to the web server")))
def check_folder(channel: ChannelFolder, keys: KeyFolders = None, as_json: AsJson = False) -> None:
    """Verify all that lies in a channel, as devices will."""
    from wherry.deliver.channel_check import check_channel

    pinned = open_keys(keys).read_pinned_root() if keys else None
    with show_progress() as progress:
        problems = check_channel(channel, datetime.now(UTC), pinned, progress, DiskStore(store_path(os.environ)))
    if as_json:
        print_json({"schema": CHANNEL_SCHEMA, "problems": list(problems)})
    else:
        for problem in problems:
            print(problem)
    if problems:
        raise TrustError(f"{len(problems)} of its parts are not as they have to be", where=str(channel))
    say("all is as it has to be")


@channel_app.command(
    "refresh",
    epilog=render_examples(("wherry channel refresh fleet --keys ONLINE", "every few days, by a timer")),
)
def refresh_documents(channel: ChannelFolder, keys: KeyFolders = None) -> None:
    """Sign the timestamp anew, and whatever else expires soon."""
    from wherry.deliver.renewal import refresh_channel

    say_renewal(refresh_channel(channel, open_keys(keys), datetime.now(UTC)))


@channel_app.command("gc", epilog=render_examples(("wherry channel gc fleet --dry-run", "what would go")))
def remove_unneeded(
    channel: ChannelFolder,
    keep: Annotated[str, typer.Option("--keep", metavar="AGE", help="Leave what is younger: 12h, 7d, 2w.")] = "1d",
    releases: Annotated[
        int | None, typer.Option("--releases", metavar="N", help="Forget releases but the last N.", show_default="all stay", min=1)
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove what no release needs any longer."""
    from wherry.deliver.channel_gc import collect_garbage

    waste = collect_garbage(channel, datetime.now(UTC), _parse_age(keep), releases, dry_run=dry_run)
    if as_json:
        files = [{"path": str(each.path.relative_to(channel)), "size": each.size, "reason": each.reason} for each in waste]
        print_json({"schema": CHANNEL_SCHEMA, "dry_run": dry_run, "removed": files})
        return
    for each in waste:
        print(f"{each.path.relative_to(channel)}  {format_size(each.size)}  {each.reason}")
    say(f"{'would free' if dry_run else 'freed'} {format_size(sum(each.size for each in waste))} in {len(waste)} files")


@channel_app.command(
    "upload",
    epilog=render_examples(
        ("wherry channel upload fleet s3://updates/vans", "after each release"),
        ("wherry channel upload fleet az://updates --dry-run", "what would move"),
    ),
)
def upload_folder(
    channel: ChannelFolder,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="s3://BUCKET/PREFIX, az://, gs://, or a folder.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring a channel into an object store, what changed and in the order in which devices may see it.

    Devices read it at the store's own web address. Credentials are those of the cloud's own tools, never in ADDRESS.
    """
    from wherry.deliver.channel_upload import upload_channel
    from wherry.store.objects_open import open_objects

    done = upload_channel(channel, open_objects(address, os.environ, say), dry_run=dry_run)
    if as_json:
        sent = [{"path": path, "size": size} for path, size in done.sent]
        print_json({"schema": CHANNEL_SCHEMA, "dry_run": dry_run, "sent": sent, "removed": list(done.removed), "kept": done.kept})
        return
    for path, size in done.sent:
        print(f"{path}  {format_size(size)}")
    for path in done.removed:
        print(f"{path}  removed")
    say(f"{'would send' if dry_run else 'sent'} {format_size(done.size)} in {len(done.sent)} files, {done.kept} are there already")


def status_document(status: ChannelStatus, now: datetime) -> dict[str, Any]:
    """``channel status --json``."""
    roles = [
        {
            "role": role.role,
            "keys": list(role.keyids),
            "threshold": role.threshold,
            "number": role.number,
            "expires": role.expires and role.expires.isoformat(),
            "expired": role.expires is not None and role.expires <= now,
        }
        for role in status.roles
    ]
    platforms = [
        {
            "platform": str(target.platform),
            "manifest": str(target.manifest),
            "parcels": [
                {"base": parcel.base and str(parcel.base), "size": parcel.size}
                for parcel in status.parcels
                if parcel.platform == target.platform
            ],
        }
        for target in status.release
    ]
    release = max((target.release for target in status.release), default=None)
    return {"schema": CHANNEL_SCHEMA, "release": release, "platforms": platforms, "roles": roles}


def _print_status(status: ChannelStatus, now: datetime) -> None:
    if not status.release:
        say("no release yet: wherry release makes one")
    for target in status.release:
        print(f"release {target.release}  {target.platform}  {target.manifest}")
        own = [parcel for parcel in status.parcels if parcel.platform == target.platform]
        for parcel in own:
            print(f"  {format_size(parcel.size):>9}  {f'from {parcel.base.hex[:12]}' if parcel.base else 'full'}")
    rows = [("role", "number", "expires", "keys")]
    for role in status.roles:
        left = "" if role.expires is None else _tell_expiry(role.expires, now)
        sign = f"{role.threshold} of " if len(role.keyids) > 1 else ""
        rows.append((role.role, str(role.number or "-"), left or "-", sign + " ".join(role.keyids)))
    print_table(rows)


def _tell_expiry(expires: datetime, now: datetime) -> str:
    days = (expires - now).days
    return f"{expires:%Y-%m-%d %H:%M} ({'EXPIRED' if expires <= now else f'in {days} days'})"


def _parse_age(text: str) -> timedelta:
    match = _AGE.fullmatch(text)
    if match is None:
        raise UsageError(f"not an age: {text!r}", where="--keep", hint="12h, 7d, 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
