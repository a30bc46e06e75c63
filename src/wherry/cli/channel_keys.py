"""`wherry channel keys`: the keys by which devices know a channel, made, exchanged and taken out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.key_options import ChannelFolder, KeyFolders, ask_new_passphrase, open_keys
from wherry.cli.talk import say
from wherry.errors import UsageError

if TYPE_CHECKING:
    from wherry.deliver.metadata import Renewal, RolePlan

keys_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make, exchange and take out the keys of a channel.")

_COUNT = re.compile(r"([0-9]{1,2})(?:/([0-9]{1,2}))?")
_DEFAULTS = {"root": "2/1", "targets": "1", "snapshot": "1", "timestamp": "1"}
_OFFLINE = ("root", "targets")


def _count_option(role: str) -> Any:
    return typer.Option(f"--{role}", metavar="KEYS[/SIGN]", help=f"Keys of {role}, and how many of them have to sign.")


_NoPassphrase = Annotated[bool, typer.Option("--no-passphrase", help="Leave new keys of root and targets unprotected.")]
_Days = Annotated[int, typer.Option("--days", metavar="N", help="How long root, targets and snapshot hold.")]
_TimestampDays = Annotated[
    int,
    typer.Option("--timestamp-days", metavar="N", help="How long devices believe a timestamp; wherry channel refresh renews it."),
]


@keys_app.command(
    "init",
    epilog=render_examples(
        ("wherry channel keys init fleet --keys KEYS", "a new channel"),
        ("wherry channel keys init fleet --keys KEYS --targets 3/2", "two must sign"),
    ),
)
def init_keys(
    channel: ChannelFolder,
    keys: KeyFolders = None,
    root: Annotated[str, _count_option("root")] = _DEFAULTS["root"],
    targets: Annotated[str, _count_option("targets")] = _DEFAULTS["targets"],
    snapshot: Annotated[str, _count_option("snapshot")] = _DEFAULTS["snapshot"],
    timestamp: Annotated[str, _count_option("timestamp")] = _DEFAULTS["timestamp"],
    days: _Days = 365,
    timestamp_days: _TimestampDays = 14,
    no_passphrase: _NoPassphrase = False,
) -> None:
    """Make a channel's keys and its first root, which devices are given once."""
    from wherry.deliver.channel import METADATA, list_roots
    from wherry.deliver.metadata import sign_first_root
    from wherry.deliver.renewal import found_channel

    opened = open_keys(keys)
    given = {"root": root, "targets": targets, "snapshot": snapshot, "timestamp": timestamp}
    plans = {role: _parse_plan(text, timestamp_days if role == "timestamp" else days, f"--{role}") for role, text in given.items()}
    if list_roots(channel):
        raise UsageError("this channel has keys already", where=str(channel), hint="wherry channel keys rotate")
    opened.refuse_inside(channel)
    opened.refuse_used()
    passphrases = {role: "" if no_passphrase else ask_new_passphrase(role) for role in _OFFLINE}
    found_channel(channel, sign_first_root(plans, opened, passphrases, datetime.now(UTC)), opened)
    say(f"devices are given {channel / METADATA / '1.root.json'} once, by a way that you trust")
    say("keep one key of root apart from the others: it replaces any key that is lost (docs/how-to/keep-keys.md)")
    print(channel / METADATA / "1.root.json")


@keys_app.command(
    "rotate",
    epilog=render_examples(
        ("wherry channel keys rotate fleet timestamp --keys KEYS", "a new key"),
        ("wherry channel keys rotate fleet targets --count 3/2", "now two must sign"),
    ),
)
def rotate_keys(
    channel: ChannelFolder,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, snapshot or timestamp.")],
    keys: KeyFolders = None,
    count: Annotated[
        str, typer.Option("--count", metavar="KEYS[/SIGN]", help="Other numbers than before.", show_default=False)
    ] = "",
    days: Annotated[int | None, typer.Option("--days", metavar="N", help="Another time to hold.", show_default=False)] = None,
    no_passphrase: _NoPassphrase = False,
) -> None:
    """Give a role new keys; what it signs is signed with them."""
    from wherry.deliver.channel import read_channel
    from wherry.deliver.metadata import plan_role
    from wherry.deliver.renewal import rotate_role

    if role not in _DEFAULTS:
        raise UsageError(f"no role {role!r}", hint=", ".join(_DEFAULTS))
    opened = open_keys(keys)
    plan = plan_role(read_channel(channel, opened.read_pinned_root()).root, role)
    if count:
        plan = _parse_plan(count, plan.days, "--count")
    if days is not None:
        plan = _parse_plan(f"{plan.count}/{plan.threshold}", days, "--days")
    renewal = rotate_role(channel, role, opened, _ask_for(role, no_passphrase), datetime.now(UTC), plan)
    say_renewal(renewal)


@keys_app.command("revoke", epilog=render_examples(("wherry channel keys revoke fleet 5c1d --keys KEYS", "lost, or stolen")))
def revoke_key(
    channel: ChannelFolder,
    key: Annotated[str, typer.Argument(metavar="KEY", help="How its id begins: wherry channel status has the ids.")],
    keys: KeyFolders = None,
    no_passphrase: _NoPassphrase = False,
) -> None:
    """Take out one key and put a new one in its place."""
    from wherry.deliver.channel import read_channel
    from wherry.deliver.metadata import find_role
    from wherry.deliver.renewal import replace_key

    opened = open_keys(keys)
    role, _ = find_role(read_channel(channel, opened.read_pinned_root()), key)
    renewal = replace_key(channel, key, opened, _ask_for(role, no_passphrase), datetime.now(UTC))
    if role == "targets" and renewal.metadata is not None:
        say("if that key was stolen, look with wherry channel status whether these are your images: they were signed anew")
    say_renewal(renewal)


def say_renewal(renewal: Renewal) -> None:
    """What was signed, and what has to be."""
    say(f"signed: {', '.join(renewal.renewed) or 'nothing'}")
    if renewal.postponed:
        say(f"expires soon, and its keys are not here: {', '.join(renewal.postponed)}")


def _ask_for(role: str, no_passphrase: bool) -> str:
    return "" if no_passphrase or role not in _OFFLINE else ask_new_passphrase(role)


def _parse_plan(text: str, days: int, where: str) -> RolePlan:
    from wherry.deliver.metadata import RolePlan

    match = _COUNT.fullmatch(text)
    if match is None:
        raise UsageError(f"not a number of keys: {text!r}", where=where, hint="2, or 3/2 where two of three have to sign")
    return RolePlan(count=int(match[1]), threshold=int(match[2] or match[1]), days=days)
