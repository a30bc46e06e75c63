"""What `wherry push` says of a push, to people on stderr, and to programs as a document."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.cli.push_cargo import Cargo, Delivered
from wherry.cli.talk import format_size, say
from wherry.publish.push import MovedBlob, PushResult
from wherry.publish.signatures import Signed

PUSH_SCHEMA = 1
_WAYS = {
    "sent": "sent",
    "streamed": "streamed from the base's registry",
    "mounted": "mounted",
    "there": "was there",
    "foreign": "left where it is",
}


def tell_push(cargo: Cargo, delivered: Delivered, *, dry_run: bool) -> None:
    """A line for the image, and one for each thing that goes with it."""
    say(_describe_push(delivered.result, dry_run=dry_run))
    if delivered.sources is not None:
        say(f"its sources: {_describe_ways(delivered.sources.blobs)}")
    if cargo.bills:
        say(f"{'would attach' if dry_run else 'attached'} its bill of materials, {len(cargo.bills)} in all")
    if cargo.key is not None:
        say(_describe_signing(cargo, delivered.signed))


def render_push(delivered: Delivered, *, dry_run: bool) -> dict[str, object]:
    """``push --json``. `sources` and `signed` are there when they were asked for."""
    reference, more = delivered.result.reference, dict[str, object]()
    if delivered.sources is not None:
        artifacts = [str(digest) for digest in delivered.sources.artifacts]
        more["sources"] = {"artifacts": artifacts, "blobs": _render_blobs(delivered.sources.blobs)}
    if delivered.signed is not None:
        more["signed"] = _render_signed(delivered.signed)
    return {
        "schema": PUSH_SCHEMA,
        "dry_run": dry_run,
        "reference": f"{reference.name}@{reference.digest}",
        "tag": reference.tag,
        "digest": str(reference.digest),
        "blobs": _render_blobs(delivered.result.blobs),
        **more,
    }


def _describe_push(result: PushResult, *, dry_run: bool) -> str:
    """What went, how, and under which name."""
    verb = "would push" if dry_run else "pushed"
    name = f"{result.reference.name}:{result.reference.tag or '<next number>'}"
    return f"{verb} {name}: {_describe_ways(result.blobs)}"


def _describe_ways(moved: Sequence[MovedBlob]) -> str:
    told = []
    for way, words in _WAYS.items():
        blobs = [blob for blob in moved if blob.way.value == way]
        if blobs:
            told.append(f"{words} {format_size(sum(blob.size for blob in blobs))} ({len(blobs)})")
    return ", ".join(told)


def _describe_signing(cargo: Cargo, signed: Signed | None) -> str:
    """`signed` is None in a dry run."""
    what = f"{_count(len(cargo.plan.documents), 'manifest')} and {_count(len(cargo.statements), 'attestation')}"
    if signed is None:
        return f"would sign {what}"
    return f"signed {what}" if signed.added else f"{what} were signed before: nothing added"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _render_signed(signed: Signed) -> dict[str, object]:
    return {
        "manifests": [str(digest) for digest in signed.images],
        "attestations": [{"manifest": str(one.image.digest), "type": one.predicate_type} for one in signed.attestations],
        "added": signed.added,
        "artifacts": [str(digest) for digest in signed.artifacts],
    }


def _render_blobs(blobs: Sequence[MovedBlob]) -> list[dict[str, object]]:
    return [{"name": blob.name, "digest": str(blob.digest), "size": blob.size, "way": blob.way.value} for blob in blobs]
