"""Says of a temperature whether it is odd, by what the device's own readings taught; without a model nothing is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

LIMIT = 8.0  # spreads

_model: dict[str, float] | None = None


def init() -> None:
    global _model
    path = Path(os.environ["AZUREML_MODEL_DIR"]) / "model.json"
    _model = json.loads(path.read_text()) if path.exists() else None


def run(reading: dict) -> dict[str, Any]:
    celsius = float(reading["celsius"])
    if _model is None:
        return {"anomaly": False}
    distance = abs(celsius - _model["mean"]) / _model["spread"]
    return {"anomaly": distance > LIMIT, "distance": round(distance, 2)}
