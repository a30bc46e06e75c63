"""Says of each day's temperatures whether they are unusual for the season: JSON lines in, JSON lines out.

`init` and `run` are what Azure ML calls in a scoring script (`iot_score.py`); run as a program, it is the same in a loop
over stdin. At a terminal, or without any input, it scores a few example readings.

    echo '{"date": "2026-07-14", "temp_max": 3.5, "temp_min": -1.0}' | python score.py
"""

from __future__ import annotations

import json
import math
import pickle
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

MODEL = Path(__file__).parent / "models" / "model.pkl"

EXAMPLES = (
    '{"date": "2026-01-15", "temp_max": 8.5, "temp_min": 3.0}',
    '{"date": "2026-07-14", "temp_max": 27.0, "temp_min": 14.5}',
    '{"date": "2026-07-14", "temp_max": 3.5, "temp_min": -1.0}',
)

# The rule for when there is no model: Seattle's mean daily high and low of each month, 2012 to 2015, and how far single
# days lie from them (one standard deviation), in degrees Celsius.
USUAL_MAX = (8.2, 9.9, 12.4, 15.0, 19.3, 22.4, 26.0, 26.1, 21.9, 16.4, 11.0, 8.2)
USUAL_MIN = (2.7, 4.1, 4.9, 6.4, 9.6, 12.2, 14.2, 14.8, 12.4, 9.4, 4.7, 3.3)
SPREAD_MAX, SPREAD_MIN = 3.7, 2.7
LIMIT = 3.5  # standard deviations

_model: dict[str, Any] | None = None


def init() -> None:
    """Load the model. Without one, say so and go on with the monthly rule; a broken one is an error."""
    global _model
    if not MODEL.exists():
        _model = None
        print(f"score: no trained model at {MODEL.name}, using the monthly rule (train.py makes one)", file=sys.stderr)
        return
    with MODEL.open("rb") as file:
        _model = pickle.load(file)


def run(raw: str) -> str:
    """Score one reading, or a list of them. The answer is JSON; what cannot be scored gives ``{"error": …}``."""
    try:
        asked = json.loads(raw)
        answer = [_score(reading) for reading in asked] if isinstance(asked, list) else _score(asked)
    except (ValueError, TypeError, KeyError) as problem:
        answer = {"error": f"{type(problem).__name__}: {problem}"}
    return json.dumps(answer)


def _score(reading: dict[str, Any]) -> dict[str, Any]:
    day = date.fromisoformat(reading["date"])
    high, low = float(reading["temp_max"]), float(reading["temp_min"])
    if not (math.isfinite(high) and math.isfinite(low)):
        raise ValueError("a temperature must be a finite number")
    if _model is None:
        anomaly, usual, by = _score_by_rule(day, high, low)
    else:
        anomaly, usual, by = _score_by_model(_model, day, high, low)
    return {"date": day.isoformat(), "anomaly": anomaly, "usual_max": usual[0], "usual_min": usual[1], "by": by}


def _score_by_rule(day: date, high: float, low: float) -> tuple[bool, tuple[float, float], str]:
    usual = USUAL_MAX[day.month - 1], USUAL_MIN[day.month - 1]
    distance = max(abs(high - usual[0]) / SPREAD_MAX, abs(low - usual[1]) / SPREAD_MIN)
    return distance > LIMIT, usual, "monthly rule"


def _score_by_model(model: dict[str, Any], day: date, high: float, low: float) -> tuple[bool, tuple[float, float], str]:
    from seasonal import describe_days  # brings numpy, which the rule does without

    usual = model["season"].predict(describe_days([day]))[0]
    anomaly = model["detector"].predict([[high - usual[0], low - usual[1]]])[0] == -1
    return bool(anomaly), (round(float(usual[0]), 1), round(float(usual[1]), 1)), f"model, seed {model['seed']}"


def _readings() -> Iterator[str]:
    given = 0
    if not sys.stdin.isatty():
        for line in sys.stdin:
            if line.strip():
                given += 1
                yield line
    if not given:
        print("score: nothing on stdin, scoring example readings", file=sys.stderr)
        yield from EXAMPLES


def main() -> None:
    init()
    for reading in _readings():
        print(run(reading), flush=True)


if __name__ == "__main__":
    main()
