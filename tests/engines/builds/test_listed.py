"""Source archives that a resolved file or another tool's lock lists, built in a real sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.engines.builds.place import AMD64, VERSION, Place
from tests.simulators.python_index import PythonIndex, make_wheel
from tests.simulators.shipyard import make_sdist
from wherry.errors import LockError, TrustError
from wherry.lock.built_wheels import lock_listed_wheels
from wherry.lock.candidates import Candidate, SourceOnlyError
from wherry.lock.target import WheelTarget
from wherry.lock.wheels import LockOptions
from wherry.model.declaration import Environment, EnvironmentKind
from wherry.model.digest import Digest

pytestmark = pytest.mark.engine


def test_a_resolved_file_may_have_source_archives(place: Place, index: PythonIndex) -> None:
    sdist, rope = make_sdist("hull", "1.0", requires=("rope",)), make_wheel("rope", "1.0")
    index.add(sdist, rope)
    text = f"""
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "hull"
version = "1.0"
dependencies = [{{ name = "rope" }}]
sdist = {{ url = "{index.file_url(sdist)}", hashes = {{ sha256 = "{sdist.sha256}" }} }}
[[packages]]
name = "rope"
version = "1.0"
wheels = [{{ url = "{index.file_url(rope)}", hashes = {{ sha256 = "{rope.sha256}" }} }}]
"""
    (place.root / "pylock.toml").write_text(text)
    asked = place.declare()
    resolved = replace(asked, environment=Environment(kind=EnvironmentKind.PYLOCK, files=("pylock.toml",)))
    wheels, builds = place.lock(resolved)
    assert [(wheel.name, wheel.requires) for wheel in wheels] == [("hull", ("rope",)), ("rope", ())]
    assert [(build.name, build.sha256.hex) for build in builds] == [("hull", sdist.sha256)]
    with pytest.raises(LockError, match="hull has no wheel at all") as caught:
        place.lock(replace(resolved, allow_build=("mast",)))
    assert 'allow-build = ["hull"]' in str(caught.value)
    (place.root / "pylock.toml").write_text(text.replace(sdist.sha256, rope.sha256, 1))
    with pytest.raises(TrustError):
        place.lock(resolved)


def test_what_another_tools_lock_has_as_source_is_built(place: Place, index: PythonIndex) -> None:
    sdist = make_sdist("hull", "1.0")
    index.add(sdist)
    listed = Candidate(
        name="hull", version="1.0", file=sdist.file, sha256=Digest(sdist.sha256), url=index.file_url(sdist), size=len(sdist.data)
    )

    def choose(built: Mapping[str, Candidate]) -> tuple[Candidate, ...]:
        if "hull" not in built:
            raise SourceOnlyError("hull comes as source", source=listed, where="pixi.lock", hint="")
        return (built["hull"],)

    target, options = WheelTarget(platform=AMD64, glibc=(2, 36), python=VERSION), LockOptions()
    asked = place.declare()
    yard, sources = place.yard(asked)
    wheels, builds = lock_listed_wheels(choose, asked, target, sources, keep=None, options=options, yard=yard)
    assert [(wheel.file, build.file) for wheel, build in zip(wheels, builds, strict=True)] == [
        ("hull-1.0-py3-none-any.whl", "hull-1.0.tar.gz")
    ]
    refused = place.declare(allow=())
    with pytest.raises(SourceOnlyError):
        lock_listed_wheels(choose, refused, target, sources, keep=None, options=options, yard=yard)
