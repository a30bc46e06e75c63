"""The engine that needs no engine, on a device: containers that outlive their starter and are found again (`engines/device.py`).

    containers/<name>/process    the command's process: its number, its start, the boot it is of, the image; one a line
    containers/<name>/log        what it prints

A number alone would name another process one day, so start time and boot are compared. A starter that died before it wrote
the file left a sandbox without one: such a sandbox is found by the mark in its variables, and ended.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.engines.bubblewrap import SANDBOX_MARK, BubblewrapEngine
from wherry.engines.device import Container
from wherry.engines.port import EngineImage, RunSpec
from wherry.engines.process import find_program
from wherry.engines.sandbox_process import end_processes, stop_process
from wherry.errors import EngineError
from wherry.formats.hybrid import describe_tar
from wherry.model.digest import DiffId, Digest
from wherry.model.oci import Descriptor, Manifest
from wherry.store.posix import write_atomically

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOG_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    number: int
    started: str
    boot: str
    image: Digest

    @property
    def is_running(self) -> bool:
        return self.boot == _read_boot() and self.started == _read_start(self.number)


class DeviceBubblewrap(BubblewrapEngine):
    """bubblewrap, for an agent."""

    def held_layers_as(
        self,
        image: EngineImage,
        known: Sequence[Manifest],  # noqa: ARG002 - layers are folders here
        sizes: Mapping[DiffId, int],
    ) -> Mapping[DiffId, Descriptor]:
        return {diff_id: describe_tar(diff_id, sizes[diff_id]) for diff_id in self.held_layers(image)}

    def layer_folders(self, image: EngineImage) -> tuple[Path, ...]:
        root = self._roots.root_of(image)
        if not root.is_dir():
            raise EngineError(f"image {image.image_id} is not unpacked")
        return (root,)

    def save(self, image: EngineImage) -> Iterator[bytes]:
        raise EngineError(f"bubblewrap keeps no archive of image {image.image_id}")

    def start(self, spec: RunSpec) -> str:
        number = int(super().start(spec))
        lines = (str(number), _read_start(number), _read_boot(), str(spec.image.image_id))
        write_atomically(self._scratch(spec.name) / "process", "\n".join(lines).encode())
        return spec.name

    def stop(self, container: str, grace: float) -> None:
        process = self._read_process(container)
        if process is not None and process.is_running:
            stop_process(process.number, grace)

    def find_container(self, name: str) -> Container | None:
        if not self._scratch(name).is_dir():
            return None
        process = self._read_process(name)
        return Container(running=process is not None and process.is_running, image=process.image if process else None)

    def execute(self, name: str, command: Sequence[str], patience: float) -> int:
        """Enter the sandbox's namespaces, as the command's own user, with its variables."""
        process = self._read_process(name)
        enter = find_program("nsenter", self._env)
        if process is None or not process.is_running:
            raise EngineError(f"container {name} is not running")
        if enter is None:
            raise EngineError("a command in a container needs nsenter", hint="apt install util-linux")
        argv = [enter, "--target", str(process.number), "--all", "--preserve-credentials", "--wd", "--", *command]
        try:
            env = _read_variables(process.number)
            return subprocess.run(
                argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, check=False
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"{command[0]} gave no answer within {patience:.0f} s") from error
        except OSError as error:
            raise EngineError(f"cannot start {command[0]}: {error.strerror}") from error

    def read_log(self, name: str) -> bytes:
        try:
            with (self._scratch(name) / "log").open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
                return file.read()
        except FileNotFoundError:
            return b""

    def discard(self, name: str, grace: float) -> None:
        self.stop(name, grace)
        scratch = self._scratch(name)
        if scratch.is_dir():
            end_processes(f"{SANDBOX_MARK}={scratch}")
            shutil.rmtree(scratch, ignore_errors=True)

    def remove_image(self, image: EngineImage) -> None:
        self._roots.remove(image)

    def _scratch(self, name: str) -> Path:
        return self._cache / "containers" / name

    def _read_process(self, name: str) -> _Process | None:
        with suppress(OSError, ValueError):
            number, started, boot, image = (self._scratch(name) / "process").read_text().split("\n")
            return _Process(number=int(number), started=started, boot=boot, image=Digest.parse(image))
        return None


def _read_boot() -> str:
    return _BOOT.read_text().strip()


def _read_start(process: int) -> str:
    """When a process began, in the kernel's ticks; empty for one that is not there, or has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _read_variables(process: int) -> dict[str, str]:
    raw = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    pairs = (os.fsdecode(item).partition("=") for item in raw if b"=" in item)
    return {name: value for name, _, value in pairs}
