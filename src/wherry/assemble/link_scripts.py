"""What a package would have done when it is installed or activated, said in words: nobody does it in an image.

Scripts that run when a package is removed are passed over: nothing is removed from an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wherry.model.conda_package import LinkScript
from wherry.model.lock import LockedRecord
from wherry.sources.conda_inspection import inspect_archive

_LONGEST = 200  # characters of a script that are shown
_IDLE = ("exit", "set", "true", ":", "fi", "done", "else")


def has_scripts(paths: Iterator[str]) -> bool:
    """Whether among a package's paths are some that would be run."""
    return any(path.endswith(("-post-link.sh", "-pre-link.sh")) or path.startswith("etc/conda/activate.d/") for path in paths)


def describe_scripts(archive: Path, record: LockedRecord) -> Iterator[str]:
    """A sentence for each script of a package, with a way on."""
    found = inspect_archive(archive, record)
    for script in found.scripts:
        if script.kind in ("pre-link", "post-link") and script.path.endswith(".sh"):
            yield (
                f"{record.name} {record.version}: its {script.kind} script is not run; it would: {summarise_script(script)}; "
                f"what of that the image needs, do in the project (the script lies in the image: {script.path})"
            )
    activated = [path for path in found.activation if path.startswith("etc/conda/activate.d/")]
    if activated:
        yield (
            f"{record.name} {record.version}: nobody activates an environment in an image, so {', '.join(activated)} is not run; "
            "what it sets and your code needs, set in [env] of wherry.toml"
        )


def summarise_script(script: LinkScript) -> str:
    """Its lines that do something, on one line."""
    lines = (line.strip() for line in script.text.splitlines())
    doing = [line for line in lines if line and not line.startswith("#") and line.split()[0] not in _IDLE]
    text = "; ".join(doing) or "do nothing"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
