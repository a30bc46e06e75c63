"""What the pages look at: jobs, sweeps and images of this machine, and the targets of one project. Nothing of it is theirs alone.

Killing `wherry ui` loses nothing: what it keeps in memory are readings, and answers that can be had again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wherry.errors import WherryError
from wherry.jobs import Jobs
from wherry.model.job import JobRecord
from wherry.store.disk import DiskStore
from wherry.sweeps import Sweeps
from wherry.ui.probes import Probes
from wherry.ui.readings import Readings
from wherry.ui.sweep_readings import SweepReadings
from wherry.ui.weighing import Weighing

_GRACE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """`root` is the folder whose targets and lock are shown. `troubles` are stops that failed, by job."""

    env: Mapping[str, str]
    root: Path
    jobs: Jobs
    sweeps: Sweeps
    store: DiskStore
    readings: Readings = field(default_factory=Readings)
    sweep_readings: SweepReadings = field(default_factory=SweepReadings)
    probes: Probes = field(default_factory=Probes)
    weighing: Weighing = field(default_factory=Weighing)
    troubles: dict[str, WherryError] = field(default_factory=dict)

    def stop_job(self, record: JobRecord) -> None:
        """Ask a job to end, and end it after a grace; does not wait for it."""
        self.troubles.pop(record.id, None)
        threading.Thread(target=self._stop, args=(record,), daemon=True).start()

    def _stop(self, record: JobRecord) -> None:
        try:
            self.jobs.cancel(record, _GRACE)
        except WherryError as error:
            self.troubles[record.id] = error
