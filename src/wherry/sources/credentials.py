"""Logins to registries, where docker and podman keep them (docker's config.json, containers-auth.json(5), docker's
credential helpers).

Order of files: `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json` when set, `$XDG_RUNTIME_DIR/containers/auth.json`,
`~/.config/containers/auth.json`, `~/.docker/config.json`; the first that knows the registry wins. Within a file: a
helper for the registry, then the common store, then what stands in the file; an entry `{}` means 'ask the store'.
podman's keys may name a repository: the longest match wins. Read only, never written. Secrets are in no text: not in
errors, not in a value's repr. A damaged file or a failing helper is a note, not an end: the registry may not want a
login at all.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wherry.model.reference import HUB
from wherry.store.registry_auth import Credential, Credentials, Login

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"  # noqa: S105 - how helpers mark an identity token
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_TIMEOUT = 30.0
_FILE_LIMIT = 1 << 20

HelperRunner = Callable[[str, str, Mapping[str, str]], str]
"""Runs ``docker-credential-NAME get`` for a server; gives its output, or raises `LookupError` with what went wrong."""


def keep_credentials(env: Mapping[str, str]) -> Credentials:
    """The port through which a registry client asks for logins, over this environment."""
    return lambda registry, repository: find_login(registry, repository, env)


def find_login(registry: str, repository: str, env: Mapping[str, str], run_helper: HelperRunner | None = None) -> Login:
    """The login kept for a repository, or none, with notes on what could not be read."""
    notes: list[str] = []
    for path in auth_files(env):
        document = _read_file(path, notes)
        if document is None:
            continue
        credential = _search_file(document, registry, repository, env, run_helper or _run_helper, notes)
        if credential:
            return Login(credential=credential, notes=tuple(notes))
    return Login(notes=tuple(notes))


def auth_files(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Where logins may be kept, first come first served."""
    home = env.get("HOME")
    config = env.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    runtime = env.get("XDG_RUNTIME_DIR")
    candidates = (
        env.get("REGISTRY_AUTH_FILE"),
        f"{env['DOCKER_CONFIG']}/config.json" if env.get("DOCKER_CONFIG") else None,
        f"{runtime}/containers/auth.json" if runtime else None,
        f"{config}/containers/auth.json" if config else None,
        f"{home}/.docker/config.json" if home else None,
    )
    return tuple(dict.fromkeys(Path(path) for path in candidates if path))


def _read_file(path: Path, notes: list[str]) -> Mapping[str, Any] | None:
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_FILE_LIMIT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid JSON"
        notes.append(f"{path} cannot be read ({reason})")
        return None
    if not isinstance(document, dict):
        notes.append(f"{path} is not a file of logins")
        return None
    return document


def _search_file(
    document: Mapping[str, Any],
    registry: str,
    repository: str,
    env: Mapping[str, str],
    run_helper: HelperRunner,
    notes: list[str],
) -> Credential | None:
    auths, helpers, store = _table(document, "auths"), _table(document, "credHelpers"), document.get("credsStore")
    for key in _keys(registry, repository):
        helper = helpers.get(key)
        if isinstance(helper, str) and helper:
            found = _ask_helper(helper, key, env, run_helper, notes)
            if found:
                return found
    server = _HUB_KEY if registry == HUB else registry
    if isinstance(store, str) and store:
        found = _ask_helper(store, server, env, run_helper, notes)
        if found:
            return found
    by_host = {_bare(key): value for key, value in auths.items()}
    for key in _keys(registry, repository):
        entry = auths.get(key) or by_host.get(_bare(key))
        found = _read_entry(entry, notes) if isinstance(entry, dict) else None
        if found:
            return found
    return None


def _keys(registry: str, repository: str) -> Iterator[str]:
    """What an entry for a repository may be called, the most exact first."""
    hosts = _HUB_NAMES if registry == HUB else (registry,)
    parts = repository.split("/")
    for length in range(len(parts), 0, -1):
        for host in hosts:
            yield "/".join((host, *parts[:length]))
    if registry == HUB:
        yield _HUB_KEY
    yield from hosts


def _bare(key: str) -> str:
    """A key as old dockers wrote them (``https://host/v1/``), down to its host and path."""
    name = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    for ending in ("/v1", "/v2"):
        name = name.removesuffix(ending)
    return name


def _read_entry(entry: Mapping[str, Any], notes: list[str]) -> Credential | None:
    text = {name: value for name, value in entry.items() if isinstance(value, str) and value}
    user, password = text.get("username", ""), text.get("password", "")
    if "auth" in text:
        try:
            decoded = base64.b64decode(text["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            notes.append("a kept login is not valid base64")
            decoded = ""
        user, _, password = decoded.partition(":")
        password = password.rstrip("\0")
    token, bearer = text.get("identitytoken", ""), text.get("registrytoken", "")
    if not (token or bearer or user):
        return None
    return Credential(user=user, password=password, identity_token=token, registry_token=bearer)


def _ask_helper(helper: str, server: str, env: Mapping[str, str], run_helper: HelperRunner, notes: list[str]) -> Credential | None:
    if not _HELPER.fullmatch(helper):
        notes.append(f"the credential helper's name {helper[:40]!r} is not one")
        return None
    try:
        answer = json.loads(run_helper(helper, server, env))
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except LookupError as error:
        if str(error.args[0] if error.args else ""):
            notes.append(str(error.args[0]))
        return None
    except (ValueError, TypeError):
        notes.append(f"docker-credential-{helper} gave no login")
        return None
    if user == _TOKEN_USER:
        return Credential(identity_token=secret)
    return Credential(user=user, password=secret) if user or secret else None


def _run_helper(helper: str, server: str, env: Mapping[str, str]) -> str:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=server, capture_output=True, text=True, timeout=_HELPER_TIMEOUT, env=dict(env), check=False
        )
    except FileNotFoundError:
        raise LookupError(f"{program} is not installed") from None
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        raise LookupError(f"{program} did not answer") from None
    if done.returncode == 0:
        return done.stdout
    if "not found" in done.stdout.lower():  # the helpers' own way to say that they have none
        raise LookupError("")
    raise LookupError(f"{program} failed with exit code {done.returncode}")


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}
