"""Calls a build backend's hooks (PEP 517). Runs inside the sandbox, by the image's Python: standard library only, any 3.x.

Called with the hook, the backend (``module:object``), and folders of the source tree to look for it in. Writes into /build/out: the
backend the wheel, and this program ``answer.json``: the hook's answer, or what is missing.
"""

import sys

sys.path[:] = [path for path in sys.path if path]  # the source tree is nobody's library

import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
from typing import Any  # noqa: E402

OUT = "/build/out"
LIMITS = ((resource.RLIMIT_DATA, 4 << 30), (resource.RLIMIT_FSIZE, 1 << 30), (resource.RLIMIT_CORE, 0))  # bytes


def bound_resources() -> None:
    """For this process and its children, for good: they share the machine with others."""
    for kind, most in LIMITS:
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))


def load_backend(text: str) -> Any:
    module, _, attributes = text.partition(":")
    found: Any = importlib.import_module(module)
    for name in attributes.split(".") if attributes else []:
        found = getattr(found, name)
    return found


def call_hook(hook: str, backend: str) -> Any:
    found = load_backend(backend)
    if hook == "requires":
        ask = getattr(found, "get_requires_for_build_wheel", None)
        return [str(text) for text in ask({})] if ask is not None else []
    return str(found.build_wheel(OUT, {}, None))


def main() -> None:
    hook, backend, *paths = sys.argv[1:]
    os.umask(0o022)
    bound_resources()
    sys.path[:0] = [os.path.join(os.getcwd(), path) for path in paths]  # noqa: PTH109, PTH118
    answer = call_hook(hook, backend)
    with open(os.path.join(OUT, "answer.json"), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123
        json.dump(answer, file)


if __name__ == "__main__":
    main()
