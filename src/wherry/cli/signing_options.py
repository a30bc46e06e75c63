"""The keys that images are signed and verified with, as the command line names them: a file, or ``env:NAME`` for a variable.

The passphrase of a private key comes from `COSIGN_PASSWORD`, else as that of any other key of ours; it is never an option, for
others could see it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.errors import UsageError
from wherry.store.posix import explain_os_errors

if TYPE_CHECKING:
    from wherry.formats.signing_keys import SigningKey, VerifyingKey

_PASSWORD = "COSIGN_PASSWORD"  # noqa: S105 - the name of a variable
_FROM_ENVIRONMENT = "env:"
_MAX_KEY = 64 << 10


def open_signing_key(text: str) -> SigningKey:
    """The private key that ``--sign`` names, decrypted."""
    from wherry.formats.signing_keys import parse_private_key

    return parse_private_key(_read_pem(text, "--sign"), text, lambda: _find_passphrase(text))


def open_verifying_keys(texts: Sequence[str]) -> dict[str, VerifyingKey]:
    """The public keys that ``--verify-key`` names, by what they are called there."""
    from wherry.formats.signing_keys import parse_public_key

    return {text: parse_public_key(_read_pem(text, "--verify-key"), text) for text in texts}


def _read_pem(text: str, option: str) -> bytes:
    from wherry.formats.signing_keys import MAKE_KEY, SHOW_PUBLIC

    hint = MAKE_KEY if option == "--sign" else SHOW_PUBLIC
    if text.startswith(_FROM_ENVIRONMENT):
        name = text.removeprefix(_FROM_ENVIRONMENT)
        if not os.environ.get(name):
            raise UsageError(f"the variable {name!r} is not set", where=option, hint=hint)
        return os.environ[name].encode()
    path = Path(text)
    if not path.exists() or path.is_dir():
        raise UsageError(f"no file {text}", where=option, hint=hint)
    with explain_os_errors(path), path.open("rb") as file:
        pem = file.read(_MAX_KEY + 1)
    if len(pem) > _MAX_KEY:
        raise UsageError("too large for a key", where=text, hint=hint)
    return pem


def _find_passphrase(text: str) -> str:
    from wherry.cli.key_options import ask_passphrase

    given = os.environ.get(_PASSWORD)
    return ask_passphrase(Path(text)) if given is None else given
