"""Programs in the places of `apptainer` and `srun` with pyxis: they record their calls and run the command, without a root.

Paths in the command's variables are those of the mounts' other ends, so a mount that is missing is a file that is missing. `srun`
runs the command in a session of its own and ends it at SIGTERM, as the real one does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_HEAD = """#!{python} -IS
import json, os, signal, sys
words = sys.argv[1:]
with open({calls!r}, "a") as calls:
    calls.write(json.dumps({{"argv": words, "env": dict(os.environ)}}) + "\\n")
if os.path.exists({broken!r}):
    sys.stderr.write(open({broken!r}).read())
    sys.exit({code})

def place(text, mounts):
    for mount in mounts:
        source, target = mount.split(":")[:2]
        text = text.replace(target, source)
    return text

def run(command, env, mounts, folder):
    os.chdir(place(folder, mounts))
    try:
        placed = {{name: place(value, mounts) for name, value in env.items()}}
        os.execvpe(command[0], command, {{"PATH": "/usr/bin:/bin", **placed}})
    except FileNotFoundError:
        sys.stderr.write({missing!r})
        os._exit({absent})
"""
_APPTAINER = """
if words == ["version"]:
    print("1.3.4")
    sys.exit(0)
file = next(at for at, word in enumerate(words) if word.endswith(".sif"))
assert os.path.exists(words[file])
options = list(zip(words[:file], words[1:file]))
env = {name.removeprefix("APPTAINERENV_"): value for name, value in os.environ.items() if name.startswith("APPTAINERENV_")}
run(words[file + 1 :], env, [b for a, b in options if a == "--bind"], dict(options).get("--pwd", "/"))
"""
_SRUN = """
if words == ["--help"]:
    print("      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH")
    sys.exit(0)
start = next(at for at, word in enumerate(words) if not word.startswith("-"))
options = dict(word.split("=", 1) for word in words[:start] if "=" in word)
assert os.path.exists(options["--container-image"])
env = {name: os.environ[name] for name in options["--export"].split(",") if name in os.environ}
mounts = options["--container-mounts"].split(",") if "--container-mounts" in options else []
child = os.fork()
if child == 0:
    os.setsid()
    run(words[start:], env, mounts, options.get("--container-workdir", "/"))
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(128 - code if code < 0 else code)
"""
_PROGRAMS = {
    "apptainer": (_APPTAINER, 255, 255, 'FATAL:   "no-such-program": executable file not found in $PATH\n'),
    "srun": (_SRUN, 1, 2, "slurmstepd: error: execve(): no-such-program: No such file or directory\n"),
}


class StandIn:
    """One of the programs, in a folder that is to be first in a PATH."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._calls = folder / "calls.jsonl"
        self._broken = folder / "broken"
        folder.mkdir(parents=True)
        body, code, absent, missing = _PROGRAMS[name]
        head = _HEAD.format(
            python=sys.executable, calls=str(self._calls), broken=str(self._broken), code=code, absent=absent, missing=missing
        )
        (folder / name).write_text(head + body)
        (folder / name).chmod(0o755)
        (folder / "tar2sqfs").write_text("#!/bin/sh\nexit 1\n")  # a node without it has no files for engines
        (folder / "tar2sqfs").chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SECRET": "s3cret"}

    def fail(self, words: str) -> None:
        """Say so on stderr and fail, whatever is asked from now on."""
        self._broken.write_text(words)

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._calls.read_text().splitlines()] if self._calls.exists() else []
