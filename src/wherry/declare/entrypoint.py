"""The grammar of `entrypoint`: a command, or ``{ score = "score.py" }``, a script that is served as the table ``[score]`` says.

Every key of ``[score]`` is optional; without that entrypoint the table is an error, since nothing would read it.
"""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import msgspec

from wherry.declare.lengths import parse_size, parse_time
from wherry.declare.mqtt import MqttTable, parse_mqtt
from wherry.declare.paths import relative_path
from wherry.errors import DeclarationError
from wherry.model.scoring import ScoreService

_LONGEST_WAIT = 10.0


class _Table(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    pass


class ScoreEntrypoint(_Table, frozen=True, kw_only=True):
    score: str


class BatchTable(_Table, frozen=True, kw_only=True):
    size: int = 32
    wait: str = "5ms"


class ScoreTable(_Table, frozen=True, kw_only=True):
    port: int = 8080
    max_body: str = "1MiB"
    batch: BatchTable = BatchTable()
    mqtt: MqttTable | None = None


def parse_command(value: str | list[str] | ScoreEntrypoint | None, where: str) -> tuple[str, ...] | None:
    """A command as a list, or as one string split as a shell splits it; no shell ever runs it."""
    if value is None or isinstance(value, ScoreEntrypoint):
        return None
    if isinstance(value, str):
        try:
            words = tuple(shlex.split(value))
        except ValueError as error:
            raise DeclarationError("a quotation mark is not closed", where=where) from error
        if any(word in ("&&", "||", "|", ";", ">", "<", "&") for word in words):
            raise DeclarationError(
                "no shell runs this command", where=where, hint='["sh", "-c", "…"], with a base that has a shell'
            )
    else:
        words = tuple(value)
    if not words or not words[0] or any("\0" in word for word in words):
        raise DeclarationError("an empty command", where=where, hint='entrypoint = "python main.py"')
    return words


def is_scoring_script(path: Path) -> bool:
    """Whether a file has the functions of Azure ML's scoring scripts. It is read, not run."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return {"init", "run"} <= {node.name for node in body if isinstance(node, ast.FunctionDef)}


def parse_score(entrypoint: object, table: ScoreTable | None, origin: str) -> ScoreService | None:
    """The service that was asked for; None where the entrypoint is a command."""
    if not isinstance(entrypoint, ScoreEntrypoint):
        if table is not None:
            raise DeclarationError(
                "no entrypoint reads this table", where=f"{origin}: score", hint='entrypoint = { score = "score.py" }'
            )
        return None
    table = table or ScoreTable()
    where = f"{origin}: score"
    if not 0 < table.port < 65536:
        raise DeclarationError(f"{table.port} is not a port", where=f"{where}.port", hint="port = 8080")
    if not 0 < table.batch.size <= 4096:
        raise DeclarationError(f"{table.batch.size} is no size of a batch", where=f"{where}.batch", hint="1 to 4096 readings")
    wait = parse_time(table.batch.wait, f"{where}.batch.wait")
    if wait > _LONGEST_WAIT:
        raise DeclarationError(f"{table.batch.wait} is long to wait for a score", where=f"{where}.batch.wait", hint="10s at most")
    return ScoreService(
        script=relative_path(entrypoint.score, f"{origin}: entrypoint.score"),
        port=table.port,
        max_body=parse_size(table.max_body, f"{where}.max-body"),
        batch_size=table.batch.size,
        batch_wait=wait,
        mqtt=None if table.mqtt is None else parse_mqtt(table.mqtt, f"{where}.mqtt"),
    )
