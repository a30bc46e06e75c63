"""Where things lie in an image (docs/spec/layers.md). Paths have no leading slash unless they say so."""

from __future__ import annotations

from dataclasses import dataclass

from wherry.model.lock import LockedInterpreter

VENV = "opt/env"
CONDA = "opt/conda"
MANAGED = "opt/python"  # a managed CPython; its environment is a virtual one
PYTHON_CACHE = "/var/cache/python"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentLayout:
    """The environment that wheels and records go to: a virtual environment around an interpreter, or conda's prefix.

    `minor` is Python's, such as ``3.11``; `is_conda` says that the interpreter lies in the prefix itself.
    """

    prefix: str
    minor: str
    is_conda: bool = False

    @property
    def scripts(self) -> str:
        return f"{self.prefix}/bin"

    @property
    def site_packages(self) -> str:
        return f"{self.prefix}/lib/python{self.minor}/site-packages"

    @property
    def headers(self) -> str:
        """The folder in which each wheel has one for its headers."""
        return f"{self.prefix}/include/{'' if self.is_conda else 'site/'}python{self.minor}"

    @property
    def interpreter_names(self) -> tuple[str, ...]:
        """The environment's names of its interpreter, the first of which is what scripts begin with."""
        return tuple(f"{self.scripts}/{name}" for name in ("python", "python3", f"python{self.minor}"))

    @property
    def configuration(self) -> str:
        """What makes the prefix a virtual environment (PEP 405); conda's has none."""
        return f"{self.prefix}/pyvenv.cfg"


def environment_layout(interpreter: LockedInterpreter) -> EnvironmentLayout:
    """Where the environment of this interpreter lies: conda's is the prefix that conda's own Python lies in."""
    if interpreter.source == "conda":
        prefix = interpreter.path.strip("/").rpartition("/bin/")[0]
        return EnvironmentLayout(prefix=prefix or CONDA, minor=interpreter.minor, is_conda=True)
    return EnvironmentLayout(prefix=VENV, minor=interpreter.minor)
