"""The environment's frame: at /opt/env an ordinary virtual environment (PEP 405) around the image's interpreter.

Conda's prefix needs none, for conda's own Python lies in it.
"""

from __future__ import annotations

from wherry.formats.tar import TarEntry, directory_entry, file_entry, symlink_entry
from wherry.model.layout import PYTHON_CACHE, environment_layout
from wherry.model.lock import LockedInterpreter


def skeleton_entries(interpreter: LockedInterpreter) -> list[TarEntry]:
    """pyvenv.cfg, the interpreter's names, and an empty site-packages; also where bytecode may be kept."""
    environment = environment_layout(interpreter)
    # Whoever runs the container fills it; like /tmp, so that any user may, and none may touch another's files.
    cache = directory_entry(PYTHON_CACHE.lstrip("/"), 0o1777)
    if environment.is_conda:
        # Conda takes a folder for an environment of its own when it keeps a history, however short.
        return [cache, file_entry(f"{environment.prefix}/conda-meta/history", b"")]
    home = interpreter.path.rpartition("/")[0]
    configuration = f"home = {home}\ninclude-system-site-packages = false\nversion = {interpreter.version}\n"
    python, *others = environment.interpreter_names
    return [
        directory_entry(environment.scripts),
        symlink_entry(python, interpreter.path),
        *(symlink_entry(name, "python") for name in others),
        file_entry(environment.configuration, configuration.encode()),
        directory_entry(environment.site_packages),
        cache,
    ]
