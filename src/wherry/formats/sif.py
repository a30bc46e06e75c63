"""Writes SIF, the file that Apptainer and Singularity run: a header, descriptors, and the root as a SquashFS partition.

Follows version 01 of the format as the reference implementation (package `sif` of Go) declares it: little endian, packed, 48
descriptors at 4096, data behind them. Deterministic: no time is told, and the image's own digest is the identity.
One object is written, the primary system partition; no signature, no definition file.
"""

from __future__ import annotations

import struct

from wherry.errors import FormatError
from wherry.model.digest import Digest
from wherry.model.platform import Platform

_LAUNCH = b"#!/usr/bin/env run-singularity\n"
_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<i?3I7q128s384s")
_PARTITION = struct.Struct("<ii3s")
_ARCHITECTURES = {"amd64": b"02", "arm": b"03", "arm64": b"04", "ppc64le": b"06", "s390x": b"11"}
_DESCRIPTORS_AT, _CAPACITY = 4096, 48
_PARTITION_TYPE, _SQUASHFS, _PRIMARY = 0x4004, 1, 2
_FIRST_GROUP = 0xF000_0001
# SquashFS is mounted through a loop device: its start has to lie on a page.
_ALIGNMENT = 4096
DATA_AT = -(-(_DESCRIPTORS_AT + _CAPACITY * _DESCRIPTOR.size) // _ALIGNMENT) * _ALIGNMENT


def render_sif_head(platform: Platform, identity: Digest, size: int) -> bytes:
    """What stands before a SquashFS partition of `size` bytes: `DATA_AT` bytes."""
    architecture = _ARCHITECTURES.get(platform.architecture)
    if architecture is None:
        raise FormatError(f"SIF has no word for {platform}", hint="--format squashfs")
    begin = _DESCRIPTORS_AT + _CAPACITY * _DESCRIPTOR.size
    counts = (_CAPACITY - 1, _CAPACITY, _DESCRIPTORS_AT, _CAPACITY * _DESCRIPTOR.size, begin, DATA_AT - begin + size)
    header = _HEADER.pack(_LAUNCH, b"SIF_MAGIC", b"01", architecture, bytes.fromhex(identity.hex[:32]), 0, 0, *counts)
    extra = _PARTITION.pack(_SQUASHFS, _PRIMARY, architecture)
    place = (DATA_AT, size, DATA_AT - begin + size)
    descriptor = _DESCRIPTOR.pack(_PARTITION_TYPE, True, 1, _FIRST_GROUP, 0, *place, 0, 0, 0, 0, b"root.squashfs", extra)
    head = header.ljust(_DESCRIPTORS_AT, b"\0") + descriptor
    return head.ljust(DATA_AT, b"\0")
