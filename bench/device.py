"""A device that takes parcels: `wherry-agent apply` with bubblewrap, its memory and its speed.

The container is not started: what is measured is believing, rebuilding and loading.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.harness import NotMeasured, Run, run_process

_SETTINGS = """\
engine = "bubblewrap"
platform = "linux/amd64"
state = "state"

[container]
start = false

[channel]
root = "{root}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Has its state in `folder`; `agent` is the installed program."""

    folder: Path
    agent: Path

    def prepare(self, channel: Path) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "agent.toml").write_text(_SETTINGS.format(root=(channel / "metadata" / "1.root.json").absolute()))

    def apply(self, parcel: Path) -> Run:
        """All processes of the agent together, from the start to the end."""
        run = run_process([self.agent, "--config", self.folder / "agent.toml", "apply", parcel], memory=True, shared_once=True)
        if run.output.strip() != "updated":
            raise NotMeasured(f"the agent says: {run.output.strip()[:200]}")
        return run
