"""Image references as docker writes them: ``[registry/]repository[:tag][@digest]``.

Follows the grammar of distribution/reference. A name without a registry host means Docker Hub, and there
a name without a slash means ``library/NAME``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wherry.errors import UsageError
from wherry.model.digest import Digest

_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
HUB = "docker.io"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """`registry` is a host with an optional port; `tag` and `digest` may both be absent."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        name, _, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if digest_text else None
        head, slash, rest = name.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost" or head.startswith("[")):
            registry, path = head, rest
        else:
            registry, path = HUB, name
        path, colon, tag = path.partition(":")
        if registry == HUB and "/" not in path:
            path = f"library/{path}"
        if not _HOST.fullmatch(registry) or not _REPOSITORY.fullmatch(path) or (colon and not _TAG.fullmatch(tag)):
            raise UsageError(f"not an image reference: {text!r}", hint="REGISTRY/NAME:TAG, such as ghcr.io/you/model:1")
        return cls(registry, path, tag or None, digest)

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"
