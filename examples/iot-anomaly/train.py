"""Learns what temperatures are usual for the season, and how far from it a day normally strays.

The data are four years of daily highs and lows measured in Seattle (NOAA, public domain), shipped inside the
`vega_datasets` package: nothing is downloaded. A seed draws the days to learn from; equal seed, rows and package versions
give an equal file, byte for byte.

    python train.py                     # writes models/model.pkl
    python train.py --seed 8 --output - > models/model.pkl
"""

from __future__ import annotations

import argparse
import pickle
import sys
from pathlib import Path

import numpy as np
import sklearn
from seasonal import READINGS, describe_days
from sklearn.covariance import EllipticEnvelope
from sklearn.linear_model import LinearRegression
from vega_datasets import data

STRANGE = 0.01  # the share of days in the data that may be called anomalous


def train(seed: int, rows: int) -> dict[str, object]:
    """Fit the seasonal curve, then the ellipse that the days' distances from it fill. `rows` days, drawn by `seed`."""
    weather = data.seattle_weather()
    drawn = np.sort(np.random.default_rng(seed).choice(len(weather), size=min(rows, len(weather)), replace=False))
    sample = weather.iloc[drawn]
    days = describe_days([stamp.date() for stamp in sample["date"]])
    readings = sample[list(READINGS)].to_numpy()
    season = LinearRegression().fit(days, readings)
    detector = EllipticEnvelope(contamination=STRANGE, random_state=seed).fit(readings - season.predict(days))
    return {"season": season, "detector": detector, "seed": seed, "rows": len(sample), "scikit-learn": sklearn.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description="train the temperature model")
    parser.add_argument("--seed", type=int, default=1, help="which days are drawn (default: 1)")
    parser.add_argument("--rows", type=int, default=500, help="how many of the 1,461 days (default: 500)")
    parser.add_argument("--output", default="models/model.pkl", help="where to; - is stdout (default: models/model.pkl)")
    asked = parser.parse_args()
    if asked.rows < 30:
        parser.error("--rows: a year's curve needs at least 30 days")
    pickled = pickle.dumps(train(asked.seed, asked.rows), protocol=5)
    if asked.output == "-":
        sys.stdout.buffer.write(pickled)
    else:
        path = Path(asked.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickled)
    print(f"trained on {asked.rows} days (seed {asked.seed}): {len(pickled):,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
