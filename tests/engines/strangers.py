"""Images of strangers: Debian by mmdebstrap, packages by its own pip, put together by buildah from a Dockerfile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SITE = "usr/local/lib/python3.11/dist-packages"
_DOCKERFILE = """FROM scratch
ADD python.tar /
COPY wheels /tmp/wheels
RUN pip install --no-index --no-deps --no-cache-dir --break-system-packages --find-links /tmp/wheels {packages}
{more}
CMD ["python3"]
"""


def make_debian(archive: Path) -> None:
    """Debian with its Python and pip, installed by dpkg as anybody's is. Takes half a minute: keep it."""
    begun = archive.with_suffix(".begun.tar")
    words = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3-pip", "bookworm", begun]
    subprocess.run(words, check=True, timeout=400, capture_output=True)
    begun.rename(archive)


def build_stranger(debian: Path, folder: Path, packages: Sequence[str], *more: str) -> Path:
    """What `docker save` would write of the image; `more` are lines of its Dockerfile."""
    context, archive = folder / "context", folder / "stranger.tar"
    (context / "wheels").mkdir(parents=True)
    os.link(debian, context / "python.tar")
    download = ("download", "-q", "--no-deps", "--only-binary=:all:", "--python-version=3.11", "-d", context / "wheels", *packages)
    subprocess.run([sys.executable, "-m", "pip", *download], check=True, timeout=200)
    (context / "Dockerfile").write_text(_DOCKERFILE.format(packages=" ".join(packages), more="\n".join(more)))
    storage = ("--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "overlay")
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(folder)}
    try:
        _run_buildah(storage, env, context, archive)
    finally:
        for part in ("context", "root", "run"):
            shutil.rmtree(folder / part, ignore_errors=True)  # some 500 MB
    return archive


def _run_buildah(storage: Sequence[str | Path], env: Mapping[str, str], context: Path, archive: Path) -> None:
    for words in (("bud", "-q", "-t", "stranger", context), ("push", "-q", "stranger", f"docker-archive:{archive}:stranger:1")):
        done = subprocess.run(["buildah", *storage, *words], env=env, check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
