"""What a device knows of itself, on its disk: which image is on, which was before, and what a switch was in the middle of.

    state.json              who is on, who was, what is pending, what was taken back
    images/<manifest>.json  the documents of each image that is on, was on, or comes: what parcels are compressed against

`state.json` changes as a whole, at the few moments that count; a record is there before anything names it and goes after
nothing does. Preparing an update changes neither: whatever it leaves behind is litter, and can be used again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from wherry.errors import DeviceError, FormatError
from wherry.formats.oci_json import parse_config, parse_json, parse_manifest
from wherry.formats.parcel_documents import BaseDocuments
from wherry.formats.release_json import parse_release_target, render_release_custom
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import ImageConfig, Manifest
from wherry.model.release import ReleaseLayer, ReleaseTarget
from wherry.store.posix import explain_os_errors, remove_abandoned, write_atomically

VERSION = 1
TIME_NOTE = "time"  # the newest signed time, in seconds since 1970
_KEPT_REFUSALS = 16
_WRITTEN = ("images", "trust", "link", "ledger")  # folders in which files are replaced


class Phase(Enum):
    """How far a switch is: the coming image is on trial, or the former one is being put back."""

    TRIAL = "trial"
    RETURN = "return"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An image that this device runs, ran, or is to run. `release` is the number under which it came; 0: it was here before."""

    manifest: Digest
    release: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A switch that has begun. `tries` counts trials, so that an image that brings the device down does so few times."""

    image: Installed
    phase: Phase
    tries: int = 1
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A release that was on trial and taken back, or that the operator rolled back from: it is not tried again."""

    image: Installed
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    current: Installed | None = None
    former: Installed | None = None
    pending: Pending | None = None
    refusals: tuple[Refusal, ...] = ()

    def find_refusal(self, image: Installed) -> Refusal | None:
        return next((refusal for refusal in self.refusals if refusal.image == image), None)

    def refuse(self, image: Installed, reason: str) -> DeviceState:
        kept = tuple(refusal for refusal in self.refusals if refusal.image != image)
        return replace(self, refusals=(*kept, Refusal(image=image, reason=reason))[-_KEPT_REFUSALS:])

    @property
    def named(self) -> frozenset[Digest]:
        """The manifests that must stay."""
        images = (self.current, self.former, self.pending.image if self.pending else None)
        return frozenset(image.manifest for image in images if image)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An image's documents as they were signed; `loaded` is the manifest by which the engine took it, if we brought it.

    One that was here before the agent has no `targets`, and sizes of layers that mean nothing.
    """

    target: ReleaseTarget
    manifest: bytes
    config: bytes
    targets: bytes
    loaded: bytes | None = None

    @property
    def installed(self) -> Installed:
        return Installed(manifest=self.target.manifest, release=self.target.release)

    @property
    def documents(self) -> BaseDocuments:
        return BaseDocuments(manifest=self.manifest, config=self.config, targets=self.targets or None)

    @property
    def sizes(self) -> Mapping[DiffId, int]:
        return {layer.diff_id: layer.size for layer in self.target.layers}

    def parse_config(self) -> ImageConfig:
        return parse_config(self.config)

    def parse_manifests(self) -> tuple[Manifest, ...]:
        """The published manifest and the engine's."""
        return tuple(parse_manifest(raw) for raw in (self.manifest, self.loaded) if raw)


def describe_found(manifest: bytes, config: bytes) -> ImageRecord:
    """The record of an image that was here before the agent, by its published documents, which have to fit together."""
    parsed, found = parse_manifest(manifest), parse_config(config)
    if parsed.config.digest != found.digest or len(parsed.layers) != len(found.diff_ids):
        raise DeviceError(
            "this config is not the one that the manifest names", hint="skopeo inspect --raw, with and without --config"
        )
    layers = tuple(ReleaseLayer(diff_id=diff_id, size=0) for diff_id in found.diff_ids)
    target = ReleaseTarget(platform=found.platform, manifest=parsed.digest, size=len(manifest), release=0, layers=layers)
    return ImageRecord(target=target, manifest=manifest, config=config, targets=b"")


class StateFolder:
    """The files. Whoever writes holds the device's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = folder / "images"

    def read(self) -> DeviceState:
        path = self.folder / "state.json"
        with explain_os_errors(path):
            try:
                raw = path.read_bytes()
            except FileNotFoundError:
                return DeviceState()
        try:
            return _parse_state(parse_json(raw, str(path)))
        except (KeyError, TypeError, ValueError, FormatError) as error:
            raise DeviceError(f"the device's state cannot be read: {error}", where=str(path), hint="wherry-agent doctor") from error

    def write(self, state: DeviceState) -> None:
        with explain_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "state.json", _render_state(state))

    def read_record(self, manifest: Digest) -> ImageRecord:
        path = self._record(manifest)
        with explain_os_errors(path):
            value = parse_json(path.read_bytes(), str(path))
        try:
            target = value["target"]
            return ImageRecord(
                target=_parse_target(target["path"], target["length"], manifest.hex, target["custom"]),
                manifest=value["manifest"].encode(),
                config=value["config"].encode(),
                targets=value["targets"].encode(),
                loaded=value["loaded"].encode() if value.get("loaded") else None,
            )
        except (KeyError, TypeError, AttributeError, FormatError) as error:
            raise DeviceError(f"an image's record cannot be read: {error}", where=str(path)) from error

    def write_record(self, record: ImageRecord) -> None:
        target = record.target
        value = {
            "target": {"path": str(target.platform), "length": target.size, "custom": render_release_custom(target)},
            "manifest": record.manifest.decode(),
            "config": record.config.decode(),
            "targets": record.targets.decode(),
            "loaded": record.loaded.decode() if record.loaded else None,
        }
        with explain_os_errors(self._images):
            self._images.mkdir(parents=True, exist_ok=True)
            write_atomically(self._record(target.manifest), json.dumps(value, ensure_ascii=False).encode())

    def list_records(self) -> tuple[Digest, ...]:
        with explain_os_errors(self._images):
            return tuple(sorted(Digest.parse(f"sha256:{path.stem}") for path in self._images.glob("[0-9a-f]*.json")))

    def remove_record(self, manifest: Digest) -> None:
        with explain_os_errors(self._images):
            self._record(manifest).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a power cut left half written."""
        for folder in (self.folder, *(self.folder / name for name in _WRITTEN)):
            remove_abandoned(folder)

    def _record(self, manifest: Digest) -> Path:
        return self._images / f"{manifest.hex}.json"


def _parse_target(path: str, length: int, sha256: str, custom: Mapping[str, Any]) -> ReleaseTarget:
    """As in a channel, where no release has the number 0."""
    release = custom["release"]
    target = parse_release_target(path, length, sha256, {**custom, "release": release or 1})
    return replace(target, release=release)


def _render_state(state: DeviceState) -> bytes:
    pending = state.pending
    value = {
        "version": VERSION,
        "current": _image_json(state.current),
        "former": _image_json(state.former),
        "pending": pending
        and {
            "image": _image_json(pending.image),
            "phase": pending.phase.value,
            "tries": pending.tries,
            "reason": pending.reason,
        },
        "refusals": [{"image": _image_json(refusal.image), "reason": refusal.reason} for refusal in state.refusals],
    }
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def _parse_state(value: Mapping[str, Any]) -> DeviceState:
    if value["version"] != VERSION:
        raise ValueError(f"version {value['version']!r}, this agent writes {VERSION}")
    pending = value["pending"]
    return DeviceState(
        current=_parse_image(value["current"]),
        former=_parse_image(value["former"]),
        pending=pending
        and Pending(
            image=_demand_image(pending["image"]),
            phase=Phase(pending["phase"]),
            tries=int(pending["tries"]),
            reason=str(pending["reason"]),
        ),
        refusals=tuple(
            Refusal(image=_demand_image(refusal["image"]), reason=str(refusal["reason"])) for refusal in value["refusals"]
        ),
    )


def _image_json(image: Installed | None) -> dict[str, Any] | None:
    return {"manifest": str(image.manifest), "release": image.release} if image else None


def _parse_image(value: Mapping[str, Any] | None) -> Installed | None:
    return None if value is None else _demand_image(value)


def _demand_image(value: Mapping[str, Any]) -> Installed:
    return Installed(manifest=Digest.parse(value["manifest"]), release=int(value["release"]))
