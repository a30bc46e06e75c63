"""The environment's frame at /opt/env: an ordinary virtual environment (PEP 405) around the image's interpreter."""

from __future__ import annotations

from wherry.formats.tar import TarEntry, directory_entry, file_entry, symlink_entry
from wherry.model.layout import CONFIGURATION, ENVIRONMENT, PYTHON_CACHE, interpreter_names, site_packages
from wherry.model.lock import LockedInterpreter


def skeleton_entries(interpreter: LockedInterpreter) -> list[TarEntry]:
    """pyvenv.cfg, the interpreter's names, and an empty site-packages; also where bytecode may be kept."""
    home = interpreter.path.rpartition("/")[0]
    configuration = f"home = {home}\ninclude-system-site-packages = false\nversion = {interpreter.version}\n"
    python, *others = interpreter_names(interpreter.minor)
    return [
        directory_entry(f"{ENVIRONMENT}/bin"),
        symlink_entry(python, interpreter.path),
        *(symlink_entry(name, "python") for name in others),
        file_entry(CONFIGURATION, configuration.encode()),
        directory_entry(site_packages(interpreter.minor)),
        # Whoever runs the container fills it; like /tmp, so that any user may, and none may touch another's files.
        directory_entry(PYTHON_CACHE.lstrip("/"), 0o1777),
    ]
