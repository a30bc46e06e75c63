"""The entry point: small, so that what is asked most often is answered before anything heavy is imported.

A rebuild of a known project goes straight to `wherry.rebuild`, a known environment, a job or a check without options to what does
it; everything else to the command line proper. Errors of ours become two lines and an exit code here, and nowhere else.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from types import FrameType

from wherry.errors import WherryError

# What is loaded stays, and is most of what a short command makes: Python's own 700 has it looked through over and over.
_OBJECTS_BETWEEN_LOOKS = 50_000


def main() -> None:
    """Run the command line; never returns."""
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS, *gc.get_threshold()[1:])
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    _open_closed_streams()
    # Names of files may be no text. As a code they stay readable, and JSON stays JSON.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except WherryError as error:
        # Only here: nothing was wrong nearly always.
        from wherry.cli.talk import say

        say(f"error: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # Whoever read our output went away; give the interpreter nothing to flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    gc.freeze()  # nor is it looked through once more at the end
    sys.exit(code)


def _open_closed_streams() -> None:
    """Whoever starts us may have closed them; then Python has None there, and the next file we open would get their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(handle, True)
            setattr(sys, name, os.fdopen(handle, mode, encoding="utf-8", closefd=False))


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """Who ends us in the orderly way gets what Ctrl-C gets: nothing is left half done."""
    sys.exit(143)


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["build"]:
        from wherry.cli.quick import rebuild_quickly

        if rebuild_quickly(arguments[1:]):
            return 0
    if arguments[:2] == ["env", "create"]:
        from wherry.cli.quick_env import create_quickly

        if create_quickly(arguments[2:]):
            return 0
    if arguments[:2] == ["run", "--on"]:
        from wherry.cli.quick_job import run_quickly

        code = run_quickly(arguments[1:])
        if code is not None:
            return code
    if arguments[:1] == ["check"]:
        from wherry.cli.quick_check import check_quickly

        code = check_quickly(arguments[1:])
        if code is not None:
            return code
    from wherry.cli.app import app, usage_error

    try:
        result = app(args=arguments, standalone_mode=False, prog_name="wherry")
    except usage_error as error:
        error.show()
        return int(error.exit_code)
    return result if isinstance(result, int) else 0
