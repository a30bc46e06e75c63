"""The metrics of jobs as they are by now. A file is read on from where the last look ended: pages look every two seconds."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

from wherry.formats.job_metrics import LONGEST_LINE
from wherry.formats.metric_series import MetricCourse
from wherry.store.posix import open_untrusted

_MOST_FILES = 64


class Readings:
    """Courses of the files that were looked at last. Several threads may look at once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: OrderedDict[Path, _Reading] = OrderedDict()

    def look(self, path: Path) -> MetricCourse:
        """What the file tells by now; one that is not there tells nothing."""
        with self._guard:
            reading = self._known.pop(path, None) or _Reading(path)
            self._known[path] = reading
            while len(self._known) > _MOST_FILES:
                self._known.popitem(last=False)
            return reading.go_on().copy()  # others may read on while a page is made of it


class _Reading:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._course = MetricCourse()

    def go_on(self) -> MetricCourse:
        try:
            with open_untrusted(self._path) as file:
                found = os.fstat(file.fileno())
                if (found.st_dev, found.st_ino) != self._file or found.st_size < self._offset:
                    self._file, self._offset, self._course = (found.st_dev, found.st_ino), 0, MetricCourse()
                file.seek(self._offset)
                while line := file.readline(LONGEST_LINE + 1):
                    if not line.endswith(b"\n") and len(line) <= LONGEST_LINE:
                        break  # whoever writes it is not done
                    self._course.take((line,))
                    self._offset += len(line)
        except OSError:
            self._file, self._offset, self._course = None, 0, MetricCourse()
        return self._course
