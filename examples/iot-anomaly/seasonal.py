"""What train.py and score.py have to agree about: a day as numbers, and the shape of the model file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

HARMONICS = 2
READINGS = ("temp_max", "temp_min")


def describe_days(days: Sequence[date]) -> NDArray[np.float64]:
    """Each day as sines and cosines of its place in the year: shape (days, 2 * HARMONICS)."""
    turn = np.array([2 * np.pi * (day.timetuple().tm_yday - 1) / 365.25 for day in days])
    waves = [wave(turn * n) for n in range(1, HARMONICS + 1) for wave in (np.sin, np.cos)]
    return np.column_stack(waves)
