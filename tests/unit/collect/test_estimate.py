"""What reducing would save is what it saves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wherry.cli.telemetry import estimate_telemetry
from wherry.collect.estimate import estimate_reduction
from wherry.errors import DeclarationError, UsageError
from wherry.model.scoring import Broker, Method, MqttModule, Reduction

RULE = Reduction(topic="plant/#", fields=("reading.v",), method=Method.MIN_MAX, window=100.0, points=2)
MODULE = MqttModule(broker=Broker(url="mqtt://hub"), readings="#", reductions=(RULE,))
READINGS = [json.dumps({"id": n, "time": n, "v": n % 10}).encode() for n in range(1200)]
DECLARED = """\
entrypoint = { score = "score.py" }
[score.mqtt]
broker = "mqtt://hub"
readings = "#"
[[score.mqtt.reduce]]
fields = ["reading.v"]
method = "min-max"
window = "100s"
points = 2
"""


def test_readings_under_a_rule_and_under_none() -> None:
    found = estimate_reduction(MODULE, "plant/a", READINGS, 1e9)
    assert (found.came, found.sent, found.unmatched) == (1200, 24, 0)
    assert found.sent_bytes < found.came_bytes / 40
    other = estimate_reduction(MODULE, "ship/a", READINGS, 1e9)
    assert (other.sent, other.sent_bytes, other.unmatched) == (1200, other.came_bytes, 1200)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "score.py").write_text("def run(raw): return 1\n")
    (tmp_path / "wherry.toml").write_text(DECLARED)
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(READINGS) + b"\n\n")
    estimate_telemetry(tmp_path / "r.jsonl", project=tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["came"], told["sent"], told["schema"]) == (1200, 24, 1)
    assert told["saved"] > 0.97
    estimate_telemetry(tmp_path / "r.jsonl", project=tmp_path)
    assert capsys.readouterr().out.startswith("1200 records, ")
    with pytest.raises(UsageError, match="cannot be read"):
        estimate_telemetry(tmp_path / "nothing", project=tmp_path)
    (tmp_path / "wherry.toml").write_text('entrypoint = { score = "score.py" }\n')
    with pytest.raises(DeclarationError, match="no module of MQTT"):
        estimate_telemetry(tmp_path / "r.jsonl", project=tmp_path)
