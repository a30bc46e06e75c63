"""What secrets look like: names of files that are nothing else, and patterns of keys, tokens and passwords in contents.

One rule set for what a build leaves out and for what a check finds in a finished image. Knows names first; contents are
looked at where a name does not tell (`content_of`), or everywhere in a project's own files (`find_secrets`). Patterns are
those that services document for their own tokens, so that hardly anything else looks so. Values never leave this module: what
is found is told by its kind. Imports stay lean for the 0.1 s rebuild.
"""

from __future__ import annotations

import re

READ_LIMIT = 1 << 20

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

# What stands in a text, wherever it is. Each group has one fixed part that is looked for first.
_TOKENS = (
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*[A-Za-z0-9+/=\s]{64}")),
    ("an AWS access key", re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{82})")),
    ("a GitLab token", re.compile(rb"\bglpat-[A-Za-z0-9_-]{20}\b")),
    ("a Slack token", re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{20,}")),
    ("a Google API key", re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("an Azure storage key", re.compile(rb"AccountKey=[A-Za-z0-9+/]{60,}={0,2}")),
    ("an Azure shared access key", re.compile(rb"SharedAccessKey=[A-Za-z0-9+/]{40,}={0,2}")),
    ("a shared access signature", re.compile(rb"[?&;]sig=[A-Za-z0-9%/+]{40,}(?:=|%3D)")),
    ("a PyPI token", re.compile(rb"\bpypi-AgEI[A-Za-z0-9_-]{50,}")),
    ("a Hugging Face token", re.compile(rb"\bhf_[A-Za-z]{34}\b")),
    ("a Stripe key", re.compile(rb"\b[rs]k_live_[A-Za-z0-9]{20,}")),
    ("a login in an address", re.compile(rb"\bhttps?://[^/\s:@$'\"{}<>]+:[^/\s:@$'\"{}<>*]{4,}@[\w-]+(?:\.[\w-]+)+")),
)
_EXAMPLE = re.compile(rb"example|xxxx|placeholder|changeme|<[a-z]|user:pass|username:password", re.IGNORECASE)
# Variables whose name says what they hold; a file's name or an address is none.
_SECRET_VARIABLE = re.compile(
    r"(?:.*_)?(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|ACCOUNT_KEY|CONNECTION_STRING|CREDENTIALS?)",
    re.IGNORECASE,
)


def is_secret_name(path: str) -> bool:
    """Whether the name alone says: this is a secret. `path` is POSIX, without a slash at its end."""
    return _SECRET_NAME.fullmatch(path.rpartition("/")[2]) is not None or (
        "/." in f"/{path}" and _SECRET_PATH.fullmatch(path) is not None
    )


def content_of(name: str) -> re.Pattern[bytes] | None:
    """What a file of such a name holds if it is a secret; None where the name says nothing."""
    if not _MAYBE.fullmatch(name):
        return None
    return next((content for names, content in _LOOK_INSIDE if names.fullmatch(name)), None)


def find_secrets(text: bytes) -> tuple[str, ...]:
    """The kinds of secrets in a text, such as ``a GitHub token``; what is plainly an example is none."""
    return tuple(kind for kind, pattern in _TOKENS if any(not _EXAMPLE.search(found[0]) for found in pattern.finditer(text)))


def is_secret_variable(name: str, value: str) -> bool:
    """Whether a variable's name says that its value is a secret, and there is one."""
    return _SECRET_VARIABLE.fullmatch(name) is not None and len(value) >= 4 and not value.startswith(("/", "$", "file:"))
