"""Files that never enter an image: secrets by name or by what they hold, and what tools leave lying about.

It knows names first; a file is opened only where the name alone does not tell (a certificate may be public, an .npmrc
harmless). At most 1 MiB of such a file is read. Imports stay lean for the 0.1 s rebuild.
"""

from __future__ import annotations

import re

_READ_LIMIT = 1 << 20

# Left out without a word: nobody wants them in an image.
_LITTER = frozenset(
    {
        ".git", ".hg", ".svn", ".bzr", ".venv", "__pycache__", "__pypackages__", ".wherry", ".ipynb_checkpoints", ".DS_Store",
        ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".tox", ".nox", "wherry.lock", "wherry.toml",
    }
)  # fmt: skip
_LITTER_SUFFIXES = (".pyc", ".pyo")

# Of the last part of a path, in any case: environment files, private keys, key stores, password files of known tools.
_SECRET_NAME = re.compile(
    r"\.env(?:rc|[._-].*)?|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|[._]netrc|\.pypirc|\.git-credentials|\.pgpass|\.my\.cnf"
    r"|\.htpasswd|\.dockercfg|\.ssh|\.gnupg|\.s3cfg|\.boto|kubeconfig|secrets\.(?:toml|ya?ml|json)"
    r"|.+\.(?:env|kubeconfig|key|p12|pfx|jks|keystore|kdbx|ppk)",
    re.IGNORECASE,
)
# Names that say something in one place only.
_SECRET_PATH = re.compile(
    r"(?:.*/)?(?:\.aws/(?:credentials|config)|\.kube/config|\.docker/config\.json|\.streamlit/secrets\.toml"
    r"|\.azure/(?:accessTokens|msal_token_cache)\.json|\.config/gcloud/.*)"
)

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY")
_GOOGLE_KEY = re.compile(rb"\"private_key\"\s*:|\"client_secret\"\s*:|\"refresh_token\"\s*:")
_NPM_TOKEN = re.compile(rb"_(?:authToken|auth|password)\s*=\s*(?!\s|\$\{)")
_URL_CREDENTIAL = re.compile(rb"://(?!git@)[^/\s@$'\"]*[^/\s@$'\"{}]@")
# Servers of conda's channels take a token as a part of the path.
_CHANNEL_CREDENTIAL = re.compile(_URL_CREDENTIAL.pattern + rb"|https?://[^\s'\"]*/t/(?![$<{])[^/\s'\"]+")
# Names that tell too little: what inside makes them a secret.
_LOOK_INSIDE = (
    (re.compile(r".*\.(?:pem|crt|cer|der|ovpn)|[^.]*[_-](?:key|rsa|dsa|ecdsa|ed25519)", re.IGNORECASE), _PRIVATE_KEY),
    (re.compile(r".*(?:credential|service[-_]?account|client[-_]?secret|gcp|google).*\.json", re.IGNORECASE), _GOOGLE_KEY),
    (re.compile(r"\.npmrc|\.yarnrc(?:\.yml)?"), _NPM_TOKEN),
    (re.compile(r"pip\.(?:conf|ini)|uv\.toml|.*(?:requirements|constraints).*\.(?:txt|in)"), _URL_CREDENTIAL),
    (
        re.compile(
            r"\.?condarc|\.mambarc|.*(?:conda|env|pixi).*\.(?:ya?ml|toml|lock)|.*(?:explicit|spec|conda).*\.txt", re.IGNORECASE
        ),
        _CHANNEL_CREDENTIAL,
    ),
)
_MAYBE = re.compile("|".join(f"(?:{names.pattern})" for names, _ in _LOOK_INSIDE), re.IGNORECASE)


def is_litter(name: str) -> bool:
    """Version control, caches, virtual environments, wherry's own files: by the last part of the path."""
    return name in _LITTER or name.endswith(_LITTER_SUFFIXES) or name.startswith("wherry.lock.")


def is_secret_name(path: str) -> bool:
    """Whether the name alone says: this is a secret. `path` is POSIX, without a slash at its end."""
    return _SECRET_NAME.fullmatch(path.rpartition("/")[2]) is not None or (
        "/." in f"/{path}" and _SECRET_PATH.fullmatch(path) is not None
    )


def holds_secret(name: str, file: str) -> bool:
    """Whether a file, whose name does not tell, holds a private key, a token or a credential. OSError passes through."""
    if not _MAYBE.fullmatch(name):
        return False
    for names, content in _LOOK_INSIDE:
        if names.fullmatch(name):
            with open(file, "rb") as opened:  # noqa: PTH123 (pathlib costs start-up time here)
                return content.search(opened.read(_READ_LIMIT)) is not None
    return False
