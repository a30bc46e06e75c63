"""`wherry check` without options, without the command line's machinery, which takes longer to load than a known image to check.

Understands a subject, `--json` and nothing else; anything more is for the command proper, which does the same (`examination`).
"""

from __future__ import annotations

from wherry.cli.examination import Wishes, examine_subject, tell_examination
from wherry.errors import CheckError
from wherry.model.report import Severity


def check_quickly(arguments: list[str]) -> int | None:
    """Check and print, and give the exit code; None, and nothing is done, where there is more to understand."""
    subjects = [argument for argument in arguments if not argument.startswith("-")]
    flags = {argument for argument in arguments if argument.startswith("-")}
    if len(subjects) > 1 or "" in subjects or flags - {"--json"}:
        return None
    found = examine_subject(subjects[0] if subjects else None, Wishes())
    tell_examination(found, as_json="--json" in flags)
    return 0 if found.is_well((Severity.ERROR,)) else CheckError.exit_code
