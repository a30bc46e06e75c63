"""The table [score.mqtt]: what is taken, and what is refused because it would be a secret, or would mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.declare.projects import declare
from tests.unit.declare.test_entrypoint import SCORE, project
from wherry.declare.fingerprint import declaration_digest
from wherry.errors import DeclarationError
from wherry.model.scoring import Broker, Method, MqttModule, Reduction

MODULE = '[score.mqtt]\nbroker = "mqtt://hub:1883"\nreadings = "plant/+/readings"\n'
FULL = """\
[score.mqtt]
broker = "env:HUB"
readings = "plant/#"
results = "up/{device}"
id = "number"
time = "at"
keep = "2MiB"

[score.mqtt.upstream]
url = "mqtts://cloud"
user = "env:U"
password = "file:/run/secrets/p"
authority = "/ca.pem"
certificate = "/c"
key = "/k"

[[score.mqtt.reduce]]
topic = "plant/+/slow"
fields = ["reading.celsius"]
method = "dead-band"
band = 1
silence = "10m"
always = "result.anomaly"

[[score.mqtt.reduce]]
fields = ["reading.a", "reading.b"]
method = "lttb"
window = "5m"
points = 6
"""


def test_a_module(tmp_path: Path) -> None:
    declared = declare(project(tmp_path, SCORE + MODULE))
    assert declared.score is not None
    assert declared.score.mqtt == MqttModule(broker=Broker(url="mqtt://hub:1883"), readings="plant/+/readings")
    assert declared.volumes == ("/data",)
    assert declared.score.extras == ("mqtt",)


def test_everything(tmp_path: Path) -> None:
    declared = declare(project(tmp_path, SCORE + FULL))
    assert declared.score is not None
    assert declared.score.mqtt == MqttModule(
        broker=Broker(url="env:HUB"),
        readings="plant/#",
        results="up/{device}",
        upstream=Broker(
            url="mqtts://cloud", user="env:U", password="file:/run/secrets/p", authority="/ca.pem", certificate="/c", key="/k"
        ),
        id="number",
        time="at",
        keep=2 << 20,
        reductions=(
            Reduction(
                topic="plant/+/slow",
                fields=("reading.celsius",),
                method=Method.DEAD_BAND,
                band=1.0,
                silence=600.0,
                always="result.anomaly",
            ),
            Reduction(topic="#", fields=("reading.a", "reading.b"), method=Method.LTTB, window=300.0, points=6),
        ),
    )
    assert declared.score.extras == ("mqtt", "reduce")


def test_what_it_needs_besides_makes_another_lock(tmp_path: Path) -> None:
    digests = {
        declaration_digest(declare(project(tmp_path / name, SCORE + text)))
        for name, text in {"a": "", "b": MODULE, "c": FULL}.items()
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('broker = "hub:1883"', "score.mqtt.broker: not the address of a broker"),
        ('broker = "mqtt://me:secret@hub"', "a login goes to user and password"),
        ('broker = { url = "mqtt://hub", password = "secret" }', "score.mqtt.broker.password: not a reference"),
        ('broker = { url = "mqtt://hub", key = "/k" }', "a key without a certificate"),
        ('readings = "a/#/b"', "is no topic filter"),
        ('readings = "a+"', "is no topic filter"),
        ('results = "a/+"', "is no topic"),
        ('keep = "much"', "is not a size"),
        ('reduce = [{ fields = ["celsius"], method = "mean" }]', "'celsius' is no field"),
        ('reduce = [{ fields = [], method = "mean" }]', "no fields"),
        ('reduce = [{ fields = ["reading.a", "reading.a.b"], method = "mean" }]', "one within another"),
        ('reduce = [{ fields = ["reading.a"], method = "median" }]', "reduce[0].method"),
        ('reduce = [{ fields = ["reading.a"], method = "mean", points = 3 }]', "mean has no points"),
        ('reduce = [{ fields = ["reading.a"], method = "dead-band" }]', "how wide is the band?"),
        ('reduce = [{ fields = ["reading.a"], method = "dead-band", band = -1 }]', "no width"),
        ('reduce = [{ fields = ["reading.a"], method = "lttb", points = 2 }]', "3 or more"),
        ('reduce = [{ fields = ["reading.a"], method = "lttb", window = "0s" }]', "is no window"),
        ("redcue = []", "redcue"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, line: str, said: str) -> None:
    key = line.partition(" ")[0]
    kept = "".join(f"{one}\n" for one in MODULE.splitlines() if not one.startswith(f"{key} "))
    with pytest.raises(DeclarationError) as caught:
        declare(project(tmp_path, f"{SCORE}{kept}{line}\n"))
    assert said in str(caught.value)
