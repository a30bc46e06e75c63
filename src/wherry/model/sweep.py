"""Sweeps as values: one command with many parameters, its tasks by index, and what is known of each.

A sweep of 100,000 tasks is one value: `Parameters` gives the parameters of task *i* when they are asked for, and keeps none of
them. A task has attempts, numbered from 0; whichever commits first is the task's end (`TaskDone`), and there is never another.

Times are seconds since 1970 by the clock of whoever wrote them: for people to read, never compared with another host's.
"""

from __future__ import annotations

import math
import random
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wherry.model.azure import AzurePool
from wherry.model.grain import Grain as Grain
from wherry.model.job import DataFolder, JobState, Limits, Output

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the task itself says that another attempt may succeed
ATTEMPTS = 4  # of a task that says so, or whose worker was lost; `retries` may ask for more
DEADLINE = 86400.0
NO_LIMITS = Limits()
Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A parameter and the values that it takes, all of them."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A parameter drawn at random: one of `values`, or a number from `low` to `high`, on a logarithmic scale if `log`."""

    name: str
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    integer: bool = False

    def draw(self, source: random.Random) -> Value:
        if self.values:
            return self.values[source.randrange(len(self.values))]
        if self.log:
            number = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        else:
            number = source.uniform(self.low, self.high + (1 if self.integer else 0))
        if self.integer:
            return max(math.ceil(self.low), min(math.floor(number), math.floor(self.high)))
        return min(max(number, self.low), self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The table of parameters: a grid, rows (a list or a CSV) and random draws. Where there are several, each goes with each.

    The last axis changes first. Draws depend on `seed` and their number alone.
    """

    axes: tuple[Axis, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()
    draws: tuple[Draw, ...] = ()
    count: int = 1
    seed: int = 0

    def __len__(self) -> int:
        return math.prod(len(axis.values) for axis in self.axes) * (len(self.rows) if self.columns else 1) * self.count

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.columns, *(axis.name for axis in self.axes), *(draw.name for draw in self.draws))

    def at(self, index: int) -> dict[str, Value]:
        """The parameters of one task."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        rest, number = divmod(index, self.count)
        source = random.Random(f"{self.seed}:{number}")  # noqa: S311 - to be drawn alike again
        drawn = {draw.name: draw.draw(source) for draw in self.draws}
        crossed: dict[str, Value] = {}
        for axis in reversed(self.axes):
            rest, position = divmod(rest, len(axis.values))
            crossed[axis.name] = axis.values[position]
        row = dict(zip(self.columns, self.rows[rest], strict=True)) if self.columns else {}
        found = {**row, **crossed, **drawn}
        return {name: found[name] for name in self.names}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepInput:
    """A file, or a folder with ``/`` at the end, that tasks find at `target` below ``$WHERRY_INPUTS``.

    `source` is its address, with ``{name}`` where parameters go. `digests` are names, as they follow on the address's last ``/``
    before any parameter, and the sha256 that each must have.
    """

    source: str
    target: str
    digests: tuple[tuple[str, str], ...] = ()

    def address_of(self, values: Mapping[str, str]) -> str:
        return fill_in(self.source, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What the author declares. `command` has ``{name}`` where parameters go; `limits` are of one task, `seconds` of one attempt.

    `retries`: how often a task that failed is tried again. `price` is what one worker costs an hour, `max_cost` what the whole may.
    `keep` are patterns of the outputs that are kept; all of them where there are none. `deadline`: seconds after which the
    backend itself ends what was asked of it. `state` is the object store's address.
    """

    name: str
    command: tuple[str, ...]
    parameters: Parameters = Parameters()
    limits: Limits = NO_LIMITS
    retries: int = 0
    concurrency: int | None = None
    workers: int | None = None
    keep: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    data: tuple[DataFolder, ...] = ()
    inputs: tuple[SweepInput, ...] = ()
    price: float | None = None
    max_cost: float | None = None
    deadline: float = DEADLINE
    state: str | None = None

    def command_of(self, index: int) -> tuple[str, ...]:
        """The command of one task: parameters in place, ``{task}`` too, and no shell in between."""
        values = self.texts_of(index)
        return tuple(fill_in(word, values) for word in self.command)

    def texts_of(self, index: int) -> dict[str, str]:
        """What stands in place of each ``{name}`` for one task."""
        return {"task": str(index), **{name: render_value(value) for name, value in self.parameters.at(index).items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """A sweep that was begun: written once, read by every worker and driver, changed by nobody.

    `root` is the project's folder, `prefix` the environment's, `image` an image ID: where workers find what tasks run in; `pull` is
    the same image in a registry, by digest, for nodes of `azure`, which have no other way to it. `log_cap`
    is how many bytes are kept of each stream of an attempt; `beat` how often a worker gives a sign of life, in seconds.
    """

    id: str
    sweep: Sweep
    target: str
    backend: str
    engine: str | None = None
    network: str | None = None
    engine_args: tuple[str, ...] = ()
    address: str | None = None
    root: str
    prefix: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    conda: bool = False
    lock: str | None = None
    image: str | None = None
    azure: AzurePool | None = None
    pull: str | None = None
    python: str | None = None
    commit: str | None = None
    dirty: str | None = None
    owner: str
    created: float
    log_cap: int = 10 << 20
    beat: float = 5.0

    def __len__(self) -> int:
        return len(self.sweep.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who runs a task now, and which attempt that is. Whoever takes a lease over counts `attempt` up: the number fences.

    `failures` counts the attempts that ended by themselves and are tried again, `lost` those that went down with their workers.
    """

    task: int
    attempt: int = 0
    worker: str
    failures: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A task that a worker has in hand. `seconds` since the attempt began, by the worker's clock."""

    task: int
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A worker's sign of life. What counts is that `number` changes while somebody watches, never a time.

    `round` is the job that the worker is of. `spent` are seconds since it began. `trouble` is what keeps it from going on.
    `over`: it has ended; one that still has tasks `running` then was found dead.
    """

    worker: str
    round: str = ""
    number: int
    slots: int
    spent: float
    host: str = ""
    running: tuple[Running, ...] = ()
    done: int = 0
    over: bool = False
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenInput:
    """An input as a task found it. `version` is what the store said (an ETag), None where it was not asked.

    A folder's `sha256` is that of its files' lines, sorted by name, as `sha256sum` writes them.
    """

    path: str
    address: str
    size: int
    sha256: str
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDone:
    """How a task ended: the one document whose existence makes it a finished task. `seconds` are those of the attempt.

    `metrics` are last values; `outputs` lie below the attempt, with their digests.
    """

    task: int
    attempt: int
    state: JobState
    exit_code: int | None = None
    worker: str
    seconds: float = 0.0
    ended: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    inputs: tuple[TakenInput, ...] = ()
    note: str | None = None

    def __post_init__(self) -> None:
        if self.task < 0 or not self.state.is_final or self.state is JobState.CANCELLED:
            raise ValueError(f"task {self.task} has not ended: {self.state.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Workers that were asked for together, written before anything is made that costs money: owner, expiry and where to look.

    `expires` is by the clock of whoever wrote it, and the same moment is given to the backend as a deadline of its own.
    """

    sweep: str
    id: str
    backend: str
    target: str
    owner: str
    begun: float
    expires: float
    workers: int
    price: float | None = None
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCounts:
    """How far a sweep is. `running` are tasks that workers with a sign of life have in hand."""

    total: int
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    lost: int = 0

    @property
    def done(self) -> int:
        return self.succeeded + self.failed + self.timed_out + self.lost

    @property
    def waiting(self) -> int:
        return self.total - self.done - self.running


def list_placeholders(words: tuple[str, ...]) -> Iterator[str]:
    """The names in braces. `ValueError`: a brace that is neither a name's nor doubled."""
    for word in words:
        for _, name, form, conversion in string.Formatter().parse(word):
            if name is not None:
                if not name or form or conversion or not name.replace("-", "_").isidentifier():
                    raise ValueError(word)
                yield name


def fill_in(word: str, values: Mapping[str, str]) -> str:
    """A word with its placeholders filled. A value's own braces stay as they are."""
    return "".join(text + (values[name] if name is not None else "") for text, name, _, _ in string.Formatter().parse(word))


def render_value(value: Value) -> str:
    """A parameter as it stands on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
