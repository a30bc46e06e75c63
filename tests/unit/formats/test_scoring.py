"""A service's settings in a variable: what was rendered is read, and what somebody changed by hand is refused in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import FormatError
from wherry.formats.scoring import parse_service, render_service
from wherry.model.scoring import Broker, Method, MqttModule, Reduction, ScoreService

WORDS = st.text(min_size=1, max_size=8)
BROKERS = st.builds(Broker, url=WORDS, user=st.none() | WORDS, authority=st.none() | WORDS)
REDUCTIONS = st.builds(
    Reduction,
    topic=WORDS,
    fields=st.lists(WORDS, min_size=1, max_size=2).map(tuple),
    method=st.sampled_from(Method),
    window=st.floats(1, 100),
    points=st.integers(2, 9),
    silence=st.none() | st.floats(1, 100),
    always=st.none() | WORDS,
)
MODULES = st.builds(
    MqttModule,
    broker=BROKERS,
    readings=WORDS,
    upstream=st.none() | BROKERS,
    keep=st.integers(1, 99),
    reductions=st.lists(REDUCTIONS, max_size=2).map(tuple),
)
SERVICES = st.builds(ScoreService, script=WORDS, port=st.integers(1, 65535), batch_wait=st.floats(0, 1), mqtt=st.none() | MODULES)


@settings(max_examples=40)
@given(SERVICES)
def test_what_was_rendered_is_read(service: ScoreService) -> None:
    assert parse_service(render_service(service)) == service


def test_what_is_usual_is_not_written() -> None:
    assert render_service(ScoreService(script="score.py")) == '{"script":"score.py"}'


MODULE = {"broker": {"url": "mqtt://h"}, "readings": "r"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "WHERRY_SCORE: not JSON"),
        (7, "WHERRY_SCORE: not an object"),
        ({}, "WHERRY_SCORE: lacks script"),
        ({"script": 7}, "WHERRY_SCORE: script: 7 is no text"),
        ({"script": "s", "port": "x"}, "WHERRY_SCORE: port: 'x' is no number"),
        ({"script": "s", "port": -1}, "-1 is no number"),
        ({"script": "s", "prt": 1}, "unknown: prt"),
        ({"script": "s", "mqtt": {"readings": "r"}}, "WHERRY_SCORE: mqtt: lacks broker"),
        ({"script": "s", "mqtt": {**MODULE, "broker": "h"}}, "WHERRY_SCORE: mqtt.broker: not an object"),
        ({"script": "s", "mqtt": {**MODULE, "reductions": {}}}, "mqtt.reductions: not a list"),
        ({"script": "s", "mqtt": {**MODULE, "reductions": [{"topic": "t", "fields": ["f"], "method": "x"}]}}, "'x' is no method"),
        (
            {"script": "s", "mqtt": {**MODULE, "reductions": [{"topic": "t", "fields": "f", "method": "lttb"}]}},
            "[0].fields: not a list of texts",
        ),
    ],
)
def test_what_is_wrong_is_said(value: object, said: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_service(value if isinstance(value, str) else json.dumps(value))
    assert said in str(caught.value)
