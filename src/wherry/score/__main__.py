"""``python -m wherry.score SCRIPT``: the entrypoint of an image whose declaration says ``entrypoint = { score = SCRIPT }``."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.errors import DeclarationError, WherryError
from wherry.formats.scoring import parse_service
from wherry.model.scoring import HOST, MODELS, SETTINGS, MqttModule, ScoreService

if TYPE_CHECKING:
    from wherry.score.service import Side


def main(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Serve the script; the exit code."""
    try:
        settings = read_settings(arguments, env)
    except WherryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a script prints belongs to the log when it is printed
    os.environ.setdefault(MODELS, str(Path(settings.script).parent.resolve()))
    from wherry.score.service import serve  # the server loads when the settings are sound

    try:
        sides = (open_module(settings.mqtt, env),) if settings.mqtt is not None else ()
    except WherryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return serve(settings, env.get(HOST, "127.0.0.1"), Path(settings.script), sides)


def open_module(settings: MqttModule, env: Mapping[str, str]) -> Side:
    try:
        from wherry.score.module import ReadingsModule
    except ImportError:
        raise DeclarationError("[score.mqtt] needs paho-mqtt", hint="pip install 'wherry[score]'") from None
    return ReadingsModule(settings, env)


def read_settings(arguments: Sequence[str], env: Mapping[str, str]) -> ScoreService:
    """What ``WHERRY_SCORE`` says; a script that is named wins over the one there."""
    written = env.get(SETTINGS)
    if written is None:
        return ScoreService(script=arguments[0] if arguments else "score.py")
    settings = parse_service(written)
    return replace(settings, script=arguments[0]) if arguments else settings


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
