"""What wherry needs of a POSIX system: locks that die with their owner, files that survive a power cut, a named pipe.

The only module that imports `fcntl` and `resource`, and nearly the only one that calls what `os` has on POSIX alone. Locks are
flock(2): the kernel drops them when a process ends, however it ends.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import math
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wherry.errors import StoreError

_MAKE_ROOM = "wherry image prune, or WHERRY_STORE on another disk; on a device: `state` in agent.toml on another disk"
_WHERE = "WHERRY_STORE says where images lie, `state` in agent.toml where an agent works"
_CHECK_OWNER = "check the folder's owner and permissions"
_HINTS = {
    errno.EACCES: _CHECK_OWNER,
    errno.EPERM: _CHECK_OWNER,
    errno.EROFS: f"a folder that may be written; {_WHERE}",
    errno.ENOTDIR: f"a folder in place of the file; {_WHERE}",
}
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
KILL = signal.SIGKILL
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def explain_os_errors(where: Path, full: str = _MAKE_ROOM) -> Iterator[None]:
    """Turn an `OSError` into a `StoreError` that says which place and what to do; `full` is what helps a full disk."""
    try:
        yield
    except OSError as error:
        place = str(error.filename or where)
        if error.errno in _FULL:
            raise StoreError(
                f"the disk is full ({error.strerror})",
                where=str(where),
                hint=full,
            ) from error
        raise StoreError(error.strerror or str(error), where=place, hint=_HINTS.get(error.errno or 0)) from error


@contextmanager
def hold_lock(path: Path, *, exclusive: bool, wait: bool = True) -> Iterator[bool]:
    """Hold a lock on the file `path`, which is made if needed. Yields False when it is taken and `wait` is False."""
    with explain_os_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with explain_os_errors(path):
            locked = lock_handle(handle, exclusive=exclusive, wait=wait)
        yield locked
    finally:
        os.close(handle)


def lock_handle(handle: int, *, exclusive: bool, wait: bool) -> bool:
    """Lock an open file until it is closed; False when somebody else has it and `wait` is False."""
    flags = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(handle, flags)
    except BlockingIOError:
        return False
    return True


def sync_folder(path: str | Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all() -> None:
    """Make everything durable that was written so far: cheaper than file by file, when there are thousands."""
    os.sync()


def is_root() -> bool:
    return os.geteuid() == 0


def open_untrusted(path: Path) -> BinaryIO:
    """A regular file in a folder that a stranger may write to. A link, a pipe or a device in its place is an `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def make_pipe(path: Path) -> None:
    """A named pipe."""
    os.mkfifo(path)


def write_atomically(path: Path, data: bytes | Iterable[bytes], scratch: Path | None = None) -> None:
    """Replace a file as a whole or not at all; `scratch` is a folder of the same file system, else the file's own."""
    temporary = (scratch or path.parent) / f".{os.getpid()}-{os.urandom(8).hex()}.part"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        lock_handle(handle, exclusive=True, wait=False)
        with os.fdopen(handle, "wb") as file:
            for chunk in (data,) if isinstance(data, bytes) else data:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_once(path: Path, data: bytes) -> bool:
    """Make a file as a whole where there is none; False where there is one, whoever came first. Needs hard links, as link(2)
    never replaces."""
    temporary = path.parent / f".{os.getpid()}-{os.urandom(8).hex()}.part"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        lock_handle(handle, exclusive=True, wait=False)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def remove_abandoned(folder: Path) -> None:
    """Forget the files that `write_atomically` and `write_hint` had begun in a folder when their process was killed."""
    with suppress(OSError):
        for path in folder.glob(".*.part"):
            with path.open("rb") as file:
                if lock_handle(file.fileno(), exclusive=True, wait=False):
                    path.unlink(missing_ok=True)


def write_hint(path: Path, data: bytes) -> None:
    """Replace a file that nothing depends on: trouble is silent, and a power cut may lose it."""
    beside = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(data)
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)


def clone_file(source: str, target: str, *, link: bool) -> None:
    """Give a file a second name; where the file system will not, or `link` is False, a copy that shares its blocks, else
    an ordinary one. The copy has the source's mode and a time of its own."""
    if link:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return
    with open(source, "rb") as reading, open(target, "xb") as writing:  # noqa: PTH123 - called for thousands of files
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
        except OSError:
            while chunk := reading.read(1 << 20):
                writing.write(chunk)
        os.fchmod(writing.fileno(), os.fstat(reading.fileno()).st_mode & 0o777)


def reserve_space(handle: int, size: int) -> None:
    """Give an open file its full size on the disk now, so that writing it cannot run out of space."""
    if size:
        os.posix_fallocate(handle, 0, size)


def fork_process() -> int:
    """A copy of this process; 0 in the copy."""
    return os.fork()


def wait_for_process(process: int) -> int:
    """The exit code of a child; that of a shell for one that a signal ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return 128 - code if code < 0 else code


def open_process(process: int) -> int:
    """A handle that can be read from as soon as a child has ended."""
    return os.pidfd_open(process)


def detach_process() -> int:
    """A copy of this process in a session of its own, nobody's child to wait for; 0 in the copy, else 1."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return 1
    try:
        os.setsid()
        grandchild = os.fork()
    except OSError:
        os._exit(1)
    if grandchild:
        os._exit(0)
    return 0


def set_alarm(seconds: float, ring: Callable[[], None]) -> None:
    """Call `ring` in this process's main thread when the time is over."""
    signal.signal(signal.SIGALRM, lambda _number, _frame: ring())
    signal.setitimer(signal.ITIMER_REAL, seconds)


def signal_group(leader: int, number: int) -> None:
    """Send a signal to all processes of a group; a group that is gone is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def end_group(leader: int) -> None:
    """End all processes of a group at once."""
    signal_group(leader, KILL)


def end_with_parent() -> None:
    """A parent that was killed clears nothing away; whoever does it after it must not find this process writing on."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, KILL, 0, 0, 0)


@contextmanager
def limit_processes(cpus: float | None, memory: int | None) -> Iterator[None]:
    """Processes begun meanwhile use so many processors, rounded up, and so much memory of their own each, in bytes."""
    if cpus is not None:
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, usable[: max(1, math.ceil(cpus))])
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if memory is not None:
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def list_processors() -> tuple[int, ...]:
    """The processors that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


@contextmanager
def on_processors(numbers: Iterable[int]) -> Iterator[None]:
    """Processes that this thread begins meanwhile use these processors alone; none are named: those that it may use itself."""
    former = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(numbers) or former)
    try:
        yield
    finally:
        os.sched_setaffinity(0, former)


def read_memory() -> int:
    """How much memory this machine has, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def name_user() -> tuple[int, int]:
    """The numbers of this process's user and group."""
    return os.geteuid(), os.getegid()
