"""`wherry build` of a project whose declaration has not changed, without the command line's machinery.

Understands a folder, `--json` and nothing else; any doubt gives the build back to the command proper, which makes the
same image (a test holds the two equal).
"""

from __future__ import annotations

import os
from pathlib import Path

from wherry.cli.build_report import print_build
from wherry.errors import WherryError
from wherry.rebuild import known_blobs, rebuild
from wherry.store.disk import DiskStore
from wherry.store.places import cache_path, store_path


def rebuild_quickly(arguments: list[str]) -> bool:
    """Rebuild and print, or do nothing and say False."""
    folders = [argument for argument in arguments if not argument.startswith("-")]
    flags = [argument for argument in arguments if argument.startswith("-")]
    if len(folders) > 1 or set(flags) - {"--json"}:
        return False
    root = Path(folders[0] if folders else ".")
    store = DiskStore(store_path(os.environ))
    cache = cache_path(os.environ)
    try:
        before = known_blobs(root, cache)
        result = rebuild(root, store, cache, os.environ)
    except WherryError:
        return False  # the full build says it better
    if result is None:
        return False
    print_build(result, before, as_json="--json" in flags)
    return True
