"""What a scoring service is asked to be: the values behind ``entrypoint = { score = … }`` and the table ``[score]``.

They go into the image as one environment variable (formats/scoring.py), so that the service there reads what was declared here.
What is secret, or another at each place, stands in them by reference: ``env:NAME`` or ``file:/path``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

RUNTIME = "wherry-score"  # the wheel that has it
SCORE_MODULE = "wherry.score"  # what Python is told to run
SETTINGS = "WHERRY_SCORE"  # the variable with the settings
HOST = "WHERRY_SCORE_HOST"  # where the service listens; an image listens on all of its own addresses
DATA = "WHERRY_SCORE_DATA"  # the folder that telemetry waits in until it is sent
DEVICE = "WHERRY_DEVICE"  # what a device is called; its host's name where this is not set
MODELS = "AZUREML_MODEL_DIR"  # where Azure ML's scoring scripts look for their model
VOLUME = "/data"  # where that folder is in an image


class Method(Enum):
    """How readings become fewer. The first three look at a window of time."""

    LTTB = "lttb"
    MIN_MAX = "min-max"
    MEAN = "mean"
    DEAD_BAND = "dead-band"

    @property
    def has_window(self) -> bool:
        return self is not Method.DEAD_BAND


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """What is left away before it costs money: of the readings of topics that `topic` matches, by the values of `fields`.

    A field is a path in the record, ``reading.celsius``. `window` and `silence` in seconds; `points` are kept of each window and
    field. A record of which `always` (a path, too) is true is sent in any case.
    """

    topic: str
    fields: tuple[str, ...]
    method: Method
    window: float = 60.0
    points: int = 4
    band: float = 0.0
    silence: float | None = None
    always: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker of MQTT: ``mqtt://HOST[:PORT]`` or ``mqtts://``, and how it knows us. All but the paths may be references."""

    url: str
    user: str | None = None
    password: str | None = None
    authority: str | None = None
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttModule:
    """Readings of the topics `readings` are scored; records go to `results` at `upstream`, which is `broker` where there is none.

    `id` and `time` are the names of a reading's own fields. `keep` are the bytes that wait at most while nobody takes them.
    """

    broker: Broker
    readings: str
    results: str = "wherry/{device}/telemetry"
    upstream: Broker | None = None
    id: str = "id"
    time: str = "time"
    keep: int = 64 << 20
    reductions: tuple[Reduction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreService:
    """`script` is relative to the project. `max_body` in bytes, `batch_wait` in seconds.

    Readings are gathered for a script that has ``run_batch``: at most `batch_size`, for at most `batch_wait`.
    """

    script: str
    port: int = 8080
    max_body: int = 1 << 20
    batch_size: int = 32
    batch_wait: float = 0.005
    mqtt: MqttModule | None = None

    @property
    def extras(self) -> tuple[str, ...]:
        """What the runtime needs besides a web server."""
        if self.mqtt is None:
            return ()
        drawn = any(rule.method in (Method.LTTB, Method.MIN_MAX) for rule in self.mqtt.reductions)
        return ("mqtt", "reduce") if drawn else ("mqtt",)
