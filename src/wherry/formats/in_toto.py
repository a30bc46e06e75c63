"""in-toto statements: what is said (a predicate) of which artefacts (subjects, by digest).

Written: Statement v1, canonical JSON, so the same words are the same bytes. Read: v1 and v0.1, which cosign 2 still writes;
of a stranger's statement only the predicate's type and the subjects' sha256 are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.errors import FormatError
from wherry.formats.oci_json import parse_json, render_json
from wherry.model.digest import Digest

IN_TOTO = "application/vnd.in-toto+json"
SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"
MAX_STATEMENT = 24 << 20
_STATEMENT = "https://in-toto.io/Statement/v1"
_READ = (_STATEMENT, "https://in-toto.io/Statement/v0.1")
_MOST_SUBJECTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`subjects` are those that have a sha256."""

    predicate_type: str
    subjects: tuple[Digest, ...]


def render_statement(subjects: Sequence[tuple[str, Digest]], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """A statement about artefacts, each with a name for people."""
    return render_json(
        {
            "_type": _STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": digest.hex}} for name, digest in subjects],
            "predicateType": predicate_type,
            "predicate": dict(predicate),
        }
    )


def parse_statement(raw: bytes, where: str) -> Statement:
    """Read a statement, whose signature was verified."""
    value = parse_json(raw, where, MAX_STATEMENT)
    kind, subjects = value.get("predicateType"), value.get("subject")
    if value.get("_type") not in _READ or not isinstance(kind, str) or not isinstance(subjects, list):
        raise FormatError("not an in-toto statement", where=where)
    if len(subjects) > _MOST_SUBJECTS:
        raise FormatError(f"a statement about {len(subjects)} artefacts", where=where)
    found = (one.get("digest") if isinstance(one, dict) else None for one in subjects)
    texts = (digests.get("sha256") for digests in found if isinstance(digests, dict))
    return Statement(predicate_type=kind, subjects=tuple(Digest.parse(f"sha256:{text}") for text in texts if isinstance(text, str)))
