"""Where wherry keeps things on this machine: images in the store, what can be had again in the cache.

The environment comes in as a mapping. Rules: `WHERRY_STORE` and `WHERRY_CACHE` win; else the folders of the XDG base
directory specification, whose variables count only when absolute; else the user's home.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wherry.errors import StoreError


def store_path(env: Mapping[str, str]) -> Path:
    """The OCI layout that holds the images."""
    return _place(env, "WHERRY_STORE", "XDG_DATA_HOME", ".local/share", "wherry/store")


def cache_path(env: Mapping[str, str]) -> Path:
    """Artefacts, compressed layers and keys of former builds; it may be deleted at any time."""
    return _place(env, "WHERRY_CACHE", "XDG_CACHE_HOME", ".cache", "wherry")


def inputs_path(env: Mapping[str, str]) -> Path:
    """What was downloaded for tasks of sweeps; it may be deleted whenever none runs."""
    return cache_path(env) / "inputs"


def root_files_path(env: Mapping[str, str]) -> Path:
    """Images as one file each, made for clusters; one may be deleted whenever no sweep runs it."""
    return cache_path(env) / "root-files"


def environments_path(env: Mapping[str, str]) -> Path:
    """Environments that have a name, one folder each."""
    return _place(env, "WHERRY_ENVS", "XDG_DATA_HOME", ".local/share", "wherry/envs")


def jobs_path(env: Mapping[str, str]) -> Path:
    """Records, logs and outputs of jobs, one folder each."""
    return _place(env, "WHERRY_JOBS", "XDG_DATA_HOME", ".local/share", "wherry/jobs")


def sweeps_path(env: Mapping[str, str]) -> Path:
    """What this machine knows of sweeps: where their state is, and the folders of workers that it started."""
    return jobs_path(env) / "sweeps"


def _place(env: Mapping[str, str], own: str, xdg: str, below_home: str, name: str) -> Path:
    if env.get(own):
        return Path(env[own]).absolute()
    if env.get(xdg, "").startswith("/"):
        return Path(env[xdg]) / name
    home = env.get("HOME", "")
    if not home.startswith("/"):
        raise StoreError("no home folder: HOME is not set", hint=f"set {own} to a folder")
    return Path(home) / below_home / name
