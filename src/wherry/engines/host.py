"""What the state of a machine means for containers: judgements shared by `wherry check --host` and `wherry-agent doctor`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from wherry.engines.port import EngineInfo
from wherry.model.host import HostFinding, HostState, Space
from wherry.model.platform import Platform

_GRAVE_SPACE, _LITTLE_SPACE = 200 * 10**6, 2 * 10**9
_GRAVE_INODES, _LITTLE_INODES = 1_000, 20_000
_LARGE_OFFSET, _GRAVE_OFFSET = timedelta(minutes=5), timedelta(hours=12)
_NOT_INSTALLED = "not installed"


def judge_engines(infos: Sequence[EngineInfo]) -> tuple[HostFinding, ...]:
    """A line an engine that is there, and one more if none can be used."""
    usable = [info for info in infos if info.usable]
    findings = []
    for info in infos:
        if info.usable:
            findings.append(_find(f"engine {info.name}", HostState.OK, f"{info.name} {info.version} is usable".replace("  ", " ")))
        elif _NOT_INSTALLED not in info.reason:
            state = HostState.WARNING if usable else HostState.FAILING
            findings.append(_find(f"engine {info.name}", state, f"{info.name} is not usable: {info.reason}", info.hint))
    if not usable:
        what = "no container engine is usable: images can be built and pushed, not run"
        findings.append(_find("engines", HostState.FAILING, what, "apt install podman, or bubblewrap, which needs no engine"))
    return tuple(findings)


def judge_space(name: str, place: str, space: Space) -> HostFinding:
    """A folder's file system."""
    free = f"{place}: {space.free / 10**9:.1f} GB of {space.size / 10**9:.1f} GB are free"
    few = space.free_inodes is not None and space.free_inodes < _LITTLE_INODES
    subject = f"disk of the {name}"
    if not space.writable:
        return _find(
            subject, HostState.FAILING, f"{place} cannot be written", "the folder's owner and permissions; or another place"
        )
    if space.free < _GRAVE_SPACE or (space.free_inodes is not None and space.free_inodes < _GRAVE_INODES):
        inodes = f", and {space.free_inodes} inodes" if few else ""
        return _find(subject, HostState.FAILING, f"{free}{inodes}", "make room there, or take another disk")
    if few:
        what = f"{place}: {space.free_inodes} of {space.inodes} inodes are free: small files will not fit"
        return _find(subject, HostState.WARNING, what, "remove small files there, or take another disk")
    if space.free < _LITTLE_SPACE:
        return _find(subject, HostState.WARNING, free, "make room there, or take another disk")
    return _find(subject, HostState.OK, free)


def judge_clock(here: datetime, there: datetime | None, whose: str) -> HostFinding:
    """This machine's clock against that of a server; `there` None where no server told."""
    if there is None:
        return _find("clock", HostState.OK, f"the clock says {here:%Y-%m-%d %H:%M} UTC; there was no server to hold it against")
    offset = abs(here - there)
    if offset < _LARGE_OFFSET:
        return _find("clock", HostState.OK, f"the clock agrees with that of {whose}")
    much = f"{offset.total_seconds() / 3600:.1f} h" if offset > timedelta(hours=1) else f"{offset.total_seconds() / 60:.0f} min"
    what = f"the clock is {much} {'ahead of' if here > there else 'behind'} that of {whose}"
    effect = ": certificates, logins and signed releases will be refused" if offset > _GRAVE_OFFSET else ": logins may be refused"
    state = HostState.FAILING if offset > _GRAVE_OFFSET else HostState.WARNING
    return _find("clock", state, what + effect, "timedatectl set-ntp true, or set the clock by hand")


def judge_cgroups(mode: str) -> HostFinding:
    """`mode` as `store.host_state.read_cgroup_mode` tells it."""
    if mode == "v2":
        return _find("cgroups", HostState.OK, "cgroups are of version 2")
    if not mode:
        what = "there are no cgroups: limits of memory and CPUs will not hold, and most engines do not start"
        return _find("cgroups", HostState.WARNING, what, "mount them (cgroups(7)); in a container, give it the host's")
    what = f"cgroups are {'of version 1' if mode == 'v1' else 'in hybrid mode'}: crun and rootless limits want version 2"
    return _find(
        "cgroups",
        HostState.WARNING,
        what,
        "runc as the engine's runtime, or systemd.unified_cgroup_hierarchy=1 at the kernel's start",
    )


def judge_namespaces(limits: Sequence[str], *, is_root: bool) -> HostFinding:
    """`limits` are settings that are in a user's way."""
    if not limits or is_root:
        return _find("user namespaces", HostState.OK, "user namespaces can be made")
    what = f"users may not make user namespaces ({', '.join(limits)}): bubblewrap and rootless podman will not start"
    settings = " ".join(f"{text.partition('=')[0]}={'0' if 'apparmor' in text else '1'}" for text in limits)
    return _find(
        "user namespaces",
        HostState.FAILING,
        what,
        f"sysctl -w {settings.replace('max_user_namespaces=1', 'max_user_namespaces=15000')}",
    )


def judge_emulation(host: Platform, wanted: Iterable[Platform], emulated: Iterable[str]) -> tuple[HostFinding, ...]:
    """Of each platform that the project has and this machine is not, whether its programs run here."""
    known, findings = frozenset(emulated), []
    for platform in sorted({one for one in wanted if one.architecture != host.architecture}):
        subject = f"emulation of {platform}"
        if platform.architecture in known:
            findings.append(_find(subject, HostState.OK, f"programs for {platform} run here by qemu"))
        else:
            what = f"programs for {platform} do not run here: its images can be built, not tried"
            findings.append(_find(subject, HostState.WARNING, what, "apt install qemu-user-static (it registers binfmt_misc)"))
    return tuple(findings)


def _find(subject: str, state: HostState, what: str, remedy: str = "") -> HostFinding:
    return HostFinding(subject=subject, state=state, what=what, remedy=remedy)
