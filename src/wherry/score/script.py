"""A scoring script (Azure ML's convention): `init()` loads the model, `run(data)` scores one reading, `run_batch(items)` many.

What they take and give their annotations say (signature.py): `run_batch` takes a list of what `run` takes, and gives a list.
One bad reading never spoils others: where a batch fails, each of it is tried alone.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from wherry.errors import DeclarationError
from wherry.score.signature import make_reader, make_writer, read_annotations


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reading that is not what the script takes: what is wrong and where, in the form that FastAPI gives."""

    detail: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The script failed. The log has the whole story under `id`; nothing else of it may leave this machine."""

    id: str


Outcome = bytes | Refusal | Failure


class Script:
    """A loaded script. `init` has run."""

    def __init__(self, path: Path) -> None:
        module = _load(path)
        init = getattr(module, "init", None)
        if init is not None:
            init()
        self._run = _function(module, "run", path)
        self._run_batch = _function(module, "run_batch", path)
        if self._run is None and self._run_batch is None:
            raise DeclarationError("has no run(data)", where=str(path), hint="def run(data): … returns what JSON can say")
        self.takes, self.gives = read_annotations(self._run, self._run_batch)
        self._read, self._write = make_reader(self.takes, path), make_writer(self.gives, path)

    @property
    def gathers(self) -> bool:
        """Whether readings are worth waiting for, to be scored together."""
        return self._run_batch is not None

    def score(self, bodies: Sequence[bytes]) -> list[Outcome]:
        """Score what several requests brought; as many outcomes, in the same order."""
        outcomes: list[Any] = [_attempt(self._read, body, _refuse) for body in bodies]
        good = [index for index, value in enumerate(outcomes) if not isinstance(value, Refusal | Failure)]
        if self._run_batch is not None and len(good) > 1:
            scored = _attempt(self._score_batch, [outcomes[index] for index in good], _fail)
            if not isinstance(scored, Failure):
                for index, value in zip(good, scored, strict=True):
                    outcomes[index] = value
                return outcomes
        for index in good:
            outcomes[index] = _attempt(self._score_one, outcomes[index], _fail)
        return outcomes

    def _score_one(self, value: Any) -> bytes:
        if self._run is not None:
            return self._write(self._run(value))
        return self._score_batch([value])[0]

    def _score_batch(self, values: list[Any]) -> list[bytes]:
        assert self._run_batch is not None  # noqa: S101 - tells the type checker
        results = list(self._run_batch(values))
        if len(results) != len(values):
            raise ValueError(f"run_batch gave {len(results)} results for {len(values)} readings")
        return [self._write(result) for result in results]


def _load(path: Path) -> ModuleType:
    """Run the file as a module of its own name, its neighbours importable, as they are when it is run as a program."""
    if not path.is_file():
        raise DeclarationError("there is no such script", where=str(path), hint='entrypoint = { score = "score.py" }')
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DeclarationError("is no Python file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _function(module: ModuleType, name: str, path: Path) -> Callable[[Any], Any] | None:
    found = getattr(module, name, None)
    if inspect.iscoroutinefunction(found):
        raise DeclarationError(f"{name} is async", where=str(path), hint=f"def {name}(…): it runs in a thread of its own")
    return found if callable(found) else None


def _attempt(work: Callable[[Any], Any], value: Any, explain: Callable[[BaseException], Refusal | Failure]) -> Any:
    try:
        return work(value)
    except BaseException as error:  # noqa: BLE001 - a script may raise what it likes; that ends neither the thread nor the service
        return explain(error)


def _refuse(error: BaseException) -> Refusal | Failure:
    errors = getattr(error, "errors", None)
    if callable(errors):
        found = errors(include_url=False, include_context=False, include_input=False)
        return Refusal(detail=tuple({"loc": ["body", *one["loc"]], "msg": one["msg"], "type": one["type"]} for one in found))
    if isinstance(error, json.JSONDecodeError):
        return _refuse_body(f"not JSON: {error.msg}", "json_invalid", error.pos)
    if isinstance(error, UnicodeDecodeError):
        return _refuse_body("not UTF-8", "json_invalid", error.start)
    if isinstance(error, RecursionError | ValueError):
        return _refuse_body("nested too deeply, or a number too long", "json_invalid", 0)
    return _fail(error)


def _refuse_body(message: str, kind: str, position: int) -> Refusal:
    return Refusal(detail=({"loc": ["body", position], "msg": message, "type": kind},))


def _fail(error: BaseException) -> Failure:
    name = uuid.uuid4().hex[:12]
    story = "".join(traceback.format_exception(error))
    print(f"score: the script failed ({name})\n{story}", end="", file=sys.stderr, flush=True)
    return Failure(id=name)
