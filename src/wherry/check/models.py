"""Judges models by what they say: code that would run, modules that are not there, other versions than those that made them.

A pickle is a program. What it imports is known without running it (`formats.pickle_stream`), and held against the image: an
error where loading would run a shell or fail for a missing module, a warning where scikit-learn or xgboost is another than the
one that made it. Models within packages (their tests, mostly) are not judged.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence

from packaging.version import InvalidVersion, Version

from wherry.check.facts import ModelFacts
from wherry.check.places import is_own
from wherry.check.python import Site
from wherry.check.tree import Tree
from wherry.model.report import Finding, Severity

_OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg", "cPickle": "pickle"}
# Modules that no model needs, and that do whatever they are told.
_DANGEROUS_MODULES = frozenset(
    {
        "os", "posix", "nt", "subprocess", "commands", "pty", "popen2", "socket", "shutil", "sys", "ctypes", "importlib", "runpy",
        "webbrowser", "urllib", "http", "ftplib", "smtplib", "code", "codeop", "pdb", "bdb", "timeit", "asyncio", "multiprocessing",
        "signal", "tempfile", "zipimport", "pip", "imp", "pydoc", "platform", "requests", "aiohttp", "httplib", "telnetlib",
    }
)  # fmt: skip
_DANGEROUS_BUILTINS = frozenset(
    {"eval", "exec", "execfile", "compile", "open", "file", "__import__", "setattr", "delattr", "globals", "input",
     "breakpoint", "vars", "memoryview", "apply"}
)  # fmt: skip
_DANGEROUS_NAMES = frozenset(
    {"types:FunctionType", "types:CodeType", "pickle:loads", "pickle:load", "_pickle:loads", "_pickle:load", "marshal:loads",
     "torch:load", "torch.hub:load", "joblib:load", "numpy.testing._private.utils:runstring"}
)  # fmt: skip
# What honest models hold at times, and what reaches everything in a crafted one.
_DOUBTFUL = frozenset({"builtins:getattr", "builtins:type", "operator:attrgetter", "operator:methodcaller"})
# The newest operator set that a runtime knows, by its minor version (onnxruntime's compatibility table).
_OPSETS = {8: 14, 9: 15, 10: 15, 11: 16, 12: 17, 13: 17, 14: 18, 15: 19, 16: 19, 17: 20, 18: 21, 19: 21, 20: 21}


def judge_models(tree: Tree, sites: Sequence[Site], folders: Sequence[str]) -> Iterator[Finding]:
    """Findings about the models of a tree. `folders` are those that Python imports the project's own code from."""
    versions = {_plain(one.name): one.version for site in sites for one in site.distributions}
    world = _World(tree, sites, folders)
    for path, facts in tree.gather():
        model = facts.models.get(path)
        if model is None or not is_own(path):
            continue
        if model.broken:
            yield _find("damaged-model", Severity.ERROR, path, f"cannot be loaded: {model.broken}")
            continue
        yield from _judge_names(path, model, world)
        yield from _judge_versions(path, model, versions)
        yield from _judge_opsets(path, model, versions)


def _judge_names(path: str, model: ModelFacts, world: _World) -> Iterator[Finding]:
    if not model.complete:
        yield _find(
            "model-code", Severity.WARNING, path, "too many opcodes to be read to the end: what it imports is not all known"
        )
    dangerous: list[str] = []
    doubtful: list[str] = []
    missing: dict[str, None] = {}
    own: list[str] = []
    for name in model.names:
        module, _, attribute = name.partition(":")
        module = _OLD_NAMES.get(module, module)
        if _is_dangerous(module, attribute):
            dangerous.append(f"{module}.{attribute}" if module != "?" else "a name that is made while it loads")
        elif f"{module}:{attribute}" in _DOUBTFUL:
            doubtful.append(attribute)
        elif module == "__main__":
            own.append(attribute)
        elif not world.has_module(module):
            missing[module] = None
    if dangerous:
        yield _find("model-code", Severity.ERROR, path, f"runs code when it is loaded: {_some(dangerous)}", _UNTRUSTED)
    if doubtful:
        what = f"calls {_some(doubtful)} when it is loaded, which reaches everything: honest models do so at times, and others"
        yield _find("model-code", Severity.WARNING, path, what, _UNTRUSTED)
    if missing:
        remedy = "the packages that it was made with; or a form that is no program (ONNX, safetensors)"
        yield _find("model-import", Severity.ERROR, path, f"cannot be loaded: no module {_some(list(missing))}", remedy)
    if own:
        what = f"holds {_some(own)} of the script that made it (__main__): another program that loads it has no such name"
        yield _find("model-import", Severity.WARNING, path, what, "define what a model needs in a module, and import it")


_UNTRUSTED = "do not ship it, unless you made it and know why"


def _is_dangerous(module: str, attribute: str) -> bool:
    """A dotted attribute leads on: ``logging:os.system`` is a shell as well."""
    parts = attribute.split(".")
    if module == "?" or module.partition(".")[0] in _DANGEROUS_MODULES or f"{module}:{attribute}" in _DANGEROUS_NAMES:
        return True
    if len(parts) > 1 and not _DANGEROUS_MODULES.isdisjoint(parts[:-1]):
        return True
    return (module == "builtins" or len(parts) > 1) and not _DANGEROUS_BUILTINS.isdisjoint(parts)


def _judge_versions(path: str, model: ModelFacts, versions: dict[str, str]) -> Iterator[Finding]:
    here = versions.get("scikit-learn")
    for made in model.sklearn:
        if here and _release(made) != _release(here):
            what = f"made with scikit-learn {made}, here is {here}: it may not load, or give other results"
            remedy = f"scikit-learn=={made}, or train it again in this environment"
            yield _find("model-version", Severity.WARNING, path, what, remedy)
    here = versions.get("xgboost") or versions.get("xgboost-cpu")
    for made in model.xgboost:
        if here and _release(made) != _release(here):
            what = f"made with xgboost {made}, here is {here}: a pickle of one version is not promised to load in another"
            remedy = f"xgboost=={made}, or save_model in place of a pickle, which later versions read"
            yield _find("model-version", Severity.WARNING, path, what, remedy)


def _judge_opsets(path: str, model: ModelFacts, versions: dict[str, str]) -> Iterator[Finding]:
    runtime = versions.get("onnxruntime") or versions.get("onnxruntime-gpu")
    asked = model.opsets.get("", 0)
    release = _release(runtime or "")
    newest = _OPSETS.get(release[1]) if release[:1] == (1,) and len(release) > 1 else None
    if runtime and newest and asked > newest:
        what = f"asks for ONNX operator set {asked}; onnxruntime {runtime} knows them up to {newest}"
        yield _find("model-version", Severity.ERROR, path, what, "a newer onnxruntime, or export with an older opset_version")


class _World:
    """Which modules an image has."""

    def __init__(self, tree: Tree, sites: Sequence[Site], folders: Sequence[str]) -> None:
        self._tree = tree
        self._folders = [site.folder for site in sites if not site.standard] + [folder for folder in folders if folder]
        self._modules = {module.name for site in sites for module in site.modules}
        self._more = any(
            _adds_folders(text) for path, facts in tree.gather() if path.endswith(".pth") for text in [facts.texts.get(path, "")]
        )

    def has_module(self, module: str) -> bool:
        """Where a .pth file adds folders that are not looked into, anything may be there."""
        if module.partition(".")[0] in sys.stdlib_module_names or module in self._modules or self._more:
            return True
        path = module.replace(".", "/")
        return any(
            self._tree.resolve(f"{folder}/{path}{end}") is not None
            for folder in self._folders
            for end in (".py", "", ".so", ".abi3.so")
        )


def _adds_folders(text: str) -> bool:
    return any(line.strip() and not line.startswith(("import ", "import\t", "#")) for line in text.splitlines())


def _release(text: str) -> tuple[int, ...]:
    """Major and minor: scikit-learn promises that much between patches."""
    try:
        return Version(text).release[:2]
    except InvalidVersion:
        return ()


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _find(rule: str, severity: Severity, path: str, what: str, remedy: str = "") -> Finding:
    name = path.rpartition("/")[2]
    return Finding(rule=rule, severity=severity, subject=name, what=f"{name}: {what}", where=(f"/{path}",), remedy=remedy)
