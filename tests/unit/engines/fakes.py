"""Programs that stand in for docker, podman, ctr and bwrap: they record how they were called and answer from a script."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROGRAM = """#!{python} -IS
import json, os, sys
folder = {folder!r}
words = " ".join(sys.argv[1:])
record = {{"argv": sys.argv[1:], "env": dict(os.environ)}}
answers = json.load(open(folder + "/answers.json"))
answer = next((a for a in answers if a["when"] in words), {{"out": "", "err": "", "code": 0}})
if answer.get("reads"):
    record["read"] = len(sys.stdin.buffer.read())
with open(folder + "/calls.jsonl", "a") as calls:
    calls.write(json.dumps(record) + "\\n")
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])
"""


@dataclass(frozen=True)
class Fake:
    """A fake program in a folder of its own, which is what `env`'s PATH is."""

    folder: Path
    name: str

    @classmethod
    def make(cls, folder: Path, name: str) -> Fake:
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / name
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        fake = cls(folder, name)
        fake.answer()
        return fake

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": str(self.folder), "MARK": "kept"}

    def answer(self, *answers: tuple[str, str, str, int], reads: Sequence[str] = ()) -> None:
        """The first answer (words, stdout, stderr, code) whose words occur in the call is given; else nothing, and 0."""
        told = [{"when": when, "out": out, "err": err, "code": code, "reads": when in reads} for when, out, err, code in answers]
        (self.folder / "answers.json").write_text(json.dumps(told))

    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def argvs(self) -> list[list[str]]:
        return [call["argv"] for call in self.calls()]
