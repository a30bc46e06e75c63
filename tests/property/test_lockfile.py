"""Laws of the lockfile: what is written is read again as the same; no damage gets through as another kind of error."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import FormatError, LockError
from wherry.formats.lockfile import parse_lock, render_lock
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import (
    BuildKind,
    LayerKind,
    Lock,
    LockedArchive,
    LockedBase,
    LockedBuild,
    LockedDeb,
    LockedInterpreter,
    LockedLayer,
    LockedRecord,
    LockedWheel,
    PlatformLock,
)
from wherry.model.platform import Platform

hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
digests = hexes.map(Digest)
diff_ids = hexes.map(DiffId)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(rc[0-9])?(\+[a-z0-9]{1,4})?", fullmatch=True)
deb_versions = st.from_regex(r"([0-9]:)?[0-9][0-9a-z.+~]{0,10}(-[0-9a-z+~]{1,5})?", fullmatch=True)
sizes = st.integers(1, 2**53 - 1)
members = st.lists(st.builds("{} {}".format, names, versions), max_size=4).map(tuple)

debs = st.builds(
    lambda name, version, **rest: LockedDeb(
        name=name, version=version, file=f"{name}_{version.replace(':', '%3a')}_all.deb", **rest
    ),
    name=names,
    version=deb_versions,
    architecture=st.sampled_from(["amd64", "all", "armhf"]),
    size=sizes,
    sha256=digests,
    part=st.sampled_from([LayerKind.BASE, LayerKind.INTERPRETER]),
)
wheels = st.builds(
    lambda name, version, **rest: LockedWheel(
        name=name, version=version, file=f"{name.replace('-', '_')}-{version}-py3-none-any.whl", **rest
    ),
    name=names,
    version=versions,
    size=sizes,
    sha256=digests,
    requires=st.lists(names, max_size=3).map(tuple),
    requested=st.booleans(),
)
tools = st.builds(
    lambda name, version, **rest: LockedWheel(name=name, version=version, file=f"{name}-{version}-py3-none-any.whl", **rest),
    name=names,
    version=versions,
    size=sizes,
    sha256=digests,
)


@st.composite
def made(draw: st.DrawFn, wheel: LockedWheel) -> LockedBuild:
    """How a wheel was built."""
    kind = draw(st.sampled_from(BuildKind))
    return LockedBuild(
        name=wheel.name,
        version=wheel.version,
        kind=kind,
        file=f"{wheel.name}-{wheel.version}.tar.gz",
        size=draw(sizes),
        sha256=draw(digests),
        recipe=draw(st.integers(1, 9)),
        commit=draw(st.text("0123456789abcdef", min_size=40, max_size=40)) if kind is BuildKind.GIT else None,
        tools=tuple(draw(st.lists(tools, max_size=2, unique_by=lambda tool: tool.name))),
    )


record_names = st.from_regex(r"_?[a-z0-9]([a-z0-9_.-]{0,10}[a-z0-9])?", fullmatch=True)
builds = st.from_regex(r"(py3[0-9]{1,2})?h[0-9a-f]{7}_[0-9]{1,2}(_cpython)?", fullmatch=True)
records = st.builds(
    lambda name, version, build, **rest: LockedRecord(
        name=name, version=version, build=build, file=f"{name}-{version}-{build}.conda", **rest
    ),
    name=record_names,
    version=versions,
    build=builds,
    subdir=st.sampled_from(["linux-64", "linux-aarch64", "noarch"]),
    channel=st.sampled_from(["conda-forge", "pkgs/main", "conda-forge/label/rc", "t"]),
    size=sizes,
    sha256=digests,
    noarch_python=st.booleans(),
    provides=st.none() | st.lists(names, max_size=2).map(tuple),
    requires=st.lists(record_names, max_size=3).map(tuple),
    requested=st.booleans(),
)
layers = st.builds(
    LockedLayer,
    name=names,
    kind=st.sampled_from([kind for kind in LayerKind if kind is not LayerKind.FOREIGN]),
    members=members,
    diff_id=st.none() | diff_ids,
)


def _named(entries: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(entries, max_size=4, unique_by=lambda entry: entry.name).map(tuple)


def _with_builds(locked: PlatformLock) -> st.SearchStrategy[PlatformLock]:
    found = st.tuples(*(st.none() | made(wheel) for wheel in locked.wheels))
    return found.map(lambda builds: replace(locked, builds=tuple(build for build in builds if build is not None)))


platforms = st.builds(
    PlatformLock,
    platform=st.sampled_from([Platform.parse(text) for text in ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x")]),
    base=st.none()
    | st.builds(
        LockedBase,
        name=st.just("library/python:3.11-slim"),
        manifest=digests,
        config=digests,
        diff_ids=st.lists(diff_ids, max_size=3).map(tuple),
    ),
    interpreter=st.builds(
        LockedInterpreter, source=st.sampled_from(["debian", "base"]), version=versions, path=st.just("/usr/bin/python3.11")
    )
    | st.builds(
        LockedInterpreter,
        source=st.just("managed"),
        version=versions,
        path=st.just("/opt/python/bin/python3.11"),
        archive=st.builds(LockedArchive, file=builds.map("cpython-{}.tar.gz".format), size=sizes, sha256=digests),
    ),
    debs=_named(debs),
    records=_named(records),
    wheels=_named(wheels),
    layers=_named(layers),
).flatmap(_with_builds)
locks = st.builds(
    Lock, declaration=digests, platforms=st.lists(platforms, max_size=3, unique_by=lambda entry: entry.platform).map(tuple)
)


@settings(deadline=None)
@given(locks)
def test_parse_of_render_is_the_same(lock: Lock) -> None:
    text = render_lock(lock)
    assert parse_lock(text) == lock
    assert render_lock(parse_lock(text)) == text
    assert "://" not in text
    assert "@" not in text


@settings(deadline=None)
@given(locks, st.data())
def test_damage_never_escapes_as_another_error(lock: Lock, data: st.DataObject) -> None:
    text = render_lock(lock)
    place = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 40))
    put = data.draw(st.text(max_size=8) | st.sampled_from(['"', "[[platform]]\n", "= {", "1e999", "[" * 200, "1979-05-27"]))
    with contextlib.suppress(FormatError, LockError):
        parse_lock(text[:place] + put + text[place + cut :])


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_a_lock_or_a_format_error(text: str) -> None:
    with contextlib.suppress(FormatError, LockError):
        parse_lock(text)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["platform", "wheel", "name", "size"]), inner),
        max_leaves=8,
    )
)
def test_any_value_in_any_place(value: object) -> None:
    for document in ({"version": 1, "declaration": value}, {"version": 1, "declaration": "sha256:" + "a" * 64, "platform": value}):
        try:
            text = tomli_w.dumps(document)
        except (TypeError, ValueError, AttributeError):
            continue  # TOML has no such value
        with contextlib.suppress(FormatError, LockError):
            parse_lock(text)
