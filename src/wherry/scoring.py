"""The runtime of scoring services: wherry's own files as a wheel, which is locked like any other (docs/adr, "The scoring runtime").

Rules: equal files give equal bytes, on every machine; the wheel says what it requires, so that the resolver chooses the rest; its
digest is in the lock, and whoever has this version of wherry makes it again without asking anybody.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from wherry.formats.built_wheel import write_wheel
from wherry.model.declaration import Declaration, Requirement
from wherry.model.digest import Digest
from wherry.model.scoring import DATA, HOST, RUNTIME, VOLUME
from wherry.store.posix import explain_os_errors, write_atomically
from wherry.version import VERSION

_HERE = Path(__file__).parent
# Modules besides the package itself.
_SHARED = (
    "errors.py",
    *(f"{package}/{name}.py" for package in ("formats", "model") for name in ("__init__", "scoring", "telemetry")),
)
_REQUIRES = (
    "starlette>=0.45",
    "uvicorn>=0.34",
    'paho-mqtt>=2.1; extra == "mqtt"',
    'tsdownsample>=0.1.4; extra == "reduce"',
)
_METADATA = "Summary: Serves scoring scripts\nRequires-Python: >=3.11\nProvides-Extra: mqtt\nProvides-Extra: reduce\n"
_METADATA += "".join(f"Requires-Dist: {one}\n" for one in _REQUIRES)


def with_runtime(declared: Declaration, cache: Path) -> Declaration:
    """The declaration as the resolver is to see it: where a script is served, its runtime is asked for besides."""
    if declared.score is None:
        return declared
    path, digest = bring_runtime(cache)
    extras = f"[{','.join(declared.score.extras)}]" if declared.score.extras else ""
    text = f"{RUNTIME}{extras} @ {path.resolve().as_uri()}#sha256={digest.hex}"
    asked = Requirement(text=text, name=RUNTIME, where=f"{declared.origin}: entrypoint.score")
    return replace(declared, environment=replace(declared.environment, besides=(asked,)))


def bring_runtime(cache: Path) -> tuple[Path, Digest]:
    """This version's runtime in the cache, where a locked file is looked for first; and its digest."""
    data = render_runtime()
    digest = Digest.of(data)
    path = cache / "artefacts" / "sha256" / digest.hex / f"{RUNTIME.replace('-', '_')}-{VERSION}-py3-none-any.whl"
    if not path.is_file() or path.stat().st_size != len(data):
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
    return path, digest


def image_variables(declared: Declaration) -> tuple[tuple[str, str], ...]:
    """The variables of an image: in a container a service listens on all addresses, elsewhere on loopback."""
    if declared.score is None:
        return declared.env
    data = {DATA: VOLUME} if declared.score.mqtt is not None else {}
    return tuple({HOST: "0.0.0.0", **data, **dict(declared.env)}.items())  # noqa: S104 - the container's own


def render_runtime() -> bytes:
    """The wheel. There is no `wherry/__init__.py` in it: what is missing in an image is not pretended to be there."""
    own = (f"score/{path.name}" for path in (_HERE / "score").glob("*.py"))
    sink = io.BytesIO()
    files = {f"wherry/{name}": (_HERE / name).read_bytes() for name in (*_SHARED, *own)}
    write_wheel(RUNTIME, VERSION, files, _METADATA, sink)
    return sink.getvalue()
