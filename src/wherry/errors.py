"""Every error that wherry raises on purpose, and the exit code of each.

    WherryError                 1   never raised itself
    ├── UsageError              2   the command line was wrong
    ├── DeclarationError       10   the author changes wherry.toml, the requirements or the project's files
    ├── LockError              11   the author locks again, or loosens a requirement
    ├── FormatError            12   a foreign file is damaged, hostile or of an unknown form
    ├── StoreError             13   this machine: disk full, unreadable file, an image that is not here
    ├── TransferError          14   the network or a registry: worth another try
    ├── TrustError             15   a digest or a signature is wrong: stop, never retried
    ├── EngineError            16   a container engine is missing or failed
    ├── DeviceError            17   a device refused or failed an update
    ├── JobError               18   a job could not be started or was lost
    ├── BudgetError            19   it would move or cost more than was allowed
    └── CheckError             20   a check found what would break

`TrustError` is never a kind of `TransferError`: whoever retries transfers must not retry it.
Each error says what happened, where, and what to try; `str()` of it is all three on up to three lines.
"""

from __future__ import annotations


class WherryError(Exception):
    """The root. `where` is a place such as ``requirements.txt:12``; `hint` is what to try next."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.hint:
            lines.append(f"try: {self.hint}")
        return "\n".join(lines)


class UsageError(WherryError):
    exit_code = 2


class DeclarationError(WherryError):
    exit_code = 10


class LockError(WherryError):
    exit_code = 11


class FormatError(WherryError):
    exit_code = 12


class StoreError(WherryError):
    exit_code = 13


class TransferError(WherryError):
    exit_code = 14


class TrustError(WherryError):
    exit_code = 15


class EngineError(WherryError):
    exit_code = 16


class DeviceError(WherryError):
    exit_code = 17


class JobError(WherryError):
    exit_code = 18


class BudgetError(WherryError):
    exit_code = 19


class CheckError(WherryError):
    exit_code = 20
