"""`wherry env create` of an environment that was made before, without the command line's machinery, the resolver and the wheels.

Understands a name, `--frozen`, `--locked` and nothing else; any doubt gives the call back to the command proper, which makes
the same environment (a test holds the two equal).
"""

from __future__ import annotations

import os
from pathlib import Path

from wherry.cli.talk import say
from wherry.run.kept_layouts import remake_environment
from wherry.store.places import cache_path


def create_quickly(arguments: list[str]) -> bool:
    """Make and print, or do nothing and say False."""
    names = [argument for argument in arguments if not argument.startswith("-")]
    flags = {argument for argument in arguments if argument.startswith("-")}
    if len(names) > 1 or flags - {"--frozen", "--locked"}:
        return False
    name = names[0] if names else None
    made = remake_environment(Path(), name, os.environ, cache_path(os.environ), frozen="--frozen" in flags)
    if made is None:
        return False
    found, notes = made
    for note in notes:
        say(note)
    print(found.prefix)
    return True
