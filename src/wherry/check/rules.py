"""The rules by name: what each says, and why it matters. `wherry check --explain RULE` shows this page's texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from types import MappingProxyType

from wherry.errors import UsageError
from wherry.model.report import Report

RULES = MappingProxyType(
    {
        "missing-library": (
            "A compiled module, or a library that it loads, needs a library that is nowhere where the dynamic linker looks. "
            "An error where that blocks an import; a warning where only a plugin or an optional part needs it."
        ),
        "system-library": (
            "A wheel counts on the system to have a library. That is allowed (manylinux lists some, libGL among them), and slim "
            "images do not have it."
        ),
        "missing-dll": (
            'A compiled module of a wheel for Windows needs a DLL that neither the wheel nor Windows has: "DLL load failed while '
            'importing". A warning where it is loaded only when it is first called, where Windows with a desktop has it and Server '
            "Core has not, or where a wheel that is required may have loaded it before."
        ),
        "unread-library": "A library that is too large to be looked into: what it asks for is not known.",
        "driver-library": (
            "A library of the GPU's driver. It is never in an image: the container engine brings the host's in (--gpus)."
        ),
        "loaded-by-name": (
            "Python code loads a library by name while it runs, with ctypes or cffi, and the linker would not find it. "
            "The code may look elsewhere as well, or do without."
        ),
        "symbol-version": (
            'A library was built against a newer one than the one in the image, as in "version `GLIBC_2.38\' not found": '
            "the linker refuses to load it."
        ),
        "wrong-architecture": "A library for another processor: the linker passes it over, and the import fails.",
        "wrong-libc": "Built for musl (Alpine) where the image has glibc, or the other way round: it cannot be loaded.",
        "wrong-python": "A wheel or a compiled module made for another version of Python than the one that would import it.",
        "wrong-wheel": "A wheel whose own tags say that it does not fit here: another system, or a newer glibc.",
        "damaged-library": "A file that has a library's name or beginning and is none: truncated or overwritten. Nothing loads it.",
        "model-code": (
            "A pickle is a program. This one imports what no model needs (a shell, files, eval), or puts names together while it "
            "loads, so that nobody can tell what it imports."
        ),
        "model-import": "A pickled model imports a module that is not in the image, or a name of the script that made it.",
        "model-version": (
            "A model was made with another minor version of scikit-learn or xgboost than the one that will load it, or asks for "
            "newer ONNX operators than the runtime knows."
        ),
        "model-stamp": (
            "A model that a job of wherry's wrote (`wherry run --on`) was made with other packages than those that the image has: "
            "by the record of that job, or by the stamp beside the model."
        ),
        "damaged-model": "A file with a model's name is truncated, or damaged, or lies about where its tensors are.",
        "secret": (
            "A key, a token, a password or a signed address lies in a file, a variable, a label or the history of the image. "
            "Whoever can pull the image has it, also when a later layer removes the file."
        ),
        "secret-name": "A file or a variable is called as those are that hold secrets. What it holds is not known.",
        "signature": (
            "With --verify-key: none of the keys signed the image, or something beside it deceives: a signature of another image, "
            "an altered attestation, a document that cannot be read. Without a key it is a note: nobody verified what is there."
        ),
        "maintainer-script": (
            "A Debian package's script would have made something at its installation, and it is not there: the package was only "
            "unpacked, as wherry does, or the script failed. What an image needs of that has to come another way."
        ),
        "root-user": "The image names no user, or root. A user of its own costs nothing and contains a lot.",
        "world-writable": "Files or folders that any user of the container may change, other than temporary folders.",
        "setuid": "Programs that run with the rights of their owner, whoever starts them. Few containers need any.",
        "left-over": "Caches of package managers, or the history of git: bytes that every pull moves and nothing uses.",
        "altered-file": "With --files: a file is not what its wheel's RECORD, or dpkg's list, says. It was edited, or is damaged.",
        "missing-file": "With --files: a file that a wheel's RECORD, or dpkg's list, names is not there.",
        "extra-file": "With --files: files lie in site-packages that no distribution brought: no lock names them.",
        "shadowed-module": (
            "A file of the project has the name of a module of Python's own library, or of an installed package, and is found "
            "first. Whatever imports that name, packages too, gets the project's file."
        ),
        "lock-mismatch": "With --files: the image has other distributions, or other versions, than the project's wherry.lock.",
        "gpu-packages": (
            "Distributions for GPUs, and how much of the image they are. Right where there is a GPU; on any other device they are "
            "bytes that every pull moves and nothing can use."
        ),
        "cuda-driver": (
            "Built for a newer CUDA than the driver of the target has (cuda or driver in wherry.toml, or --cuda). Of another major "
            'version nothing runs ("CUDA driver version is insufficient"); of the same one whatever compiles nothing while it runs.'
        ),
        "duplicate-cuda": "Libraries of CUDA lie there for two of its major versions, or from conda and from wheels as well.",
        "size-budget": (
            "The image's layers weigh more, as stored, than size-budget in wherry.toml or --size-budget allows: that is what a "
            "pull of all of them moves. Of a folder its files count as they lie there."
        ),
        "max-layer": (
            "A layer weighs more, as stored, than max-layer in wherry.toml or --max-layer allows. A layer moves as a whole "
            "whenever anything in it changes."
        ),
        "unneeded-files": (
            "With --slim: tests of packages, static archives, headers, type stubs, and what a later layer hides. Containers run "
            "without them; every pull moves them. Headers are needed where code is compiled while it runs (torch.compile)."
        ),
        "no-interpreter": "Packages lie in the folder of a Python version of which there is no interpreter.",
        "interpreter": (
            "The interpreter itself would not start: the linker does not find what it needs. Or, in a rebase, the interpreter that "
            "packages were installed for is not at its place, or is another version."
        ),
        "other-packages": (
            "In `wherry image rebase --take`: the new image has other distributions than the former one, and what is taken was "
            "made with the new one's."
        ),
        "start-command": "In a rebase: what the container starts is not there any more.",
        "empty-package": (
            "A distribution's metadata is there, and none of the files that its RECORD names: its import fails, though pip and "
            "others believe it installed."
        ),
        "empty-environment": "An environment in which nothing is installed. Often a build that went wrong without saying so.",
    }
)


def parse_ignored(texts: Iterable[str]) -> frozenset[tuple[str, str]]:
    """What ``--ignore`` says: ``RULE``, or ``RULE:SUBJECT`` for one subject alone. A rule that nobody knows is refused."""
    pairs = frozenset((rule, subject) for rule, _, subject in (text.partition(":") for text in texts))
    for rule, _ in sorted(pairs):
        if rule not in RULES:
            raise UsageError(f"no rule is called {rule!r}", where="--ignore", hint=", ".join(RULES))
    return pairs


def leave_out(report: Report, ignored: Collection[tuple[str, str]]) -> Report:
    """The report without the findings that somebody has seen and accepted."""
    kept = tuple(one for one in report.findings if (one.rule, "") not in ignored and (one.rule, one.subject) not in ignored)
    return replace(report, findings=kept, ignored=len(report.findings) - len(kept))
