"""Images that other tools made, in an engine that keeps less of a file's mode than they said."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

from tests.simulators.devices import Device, Operator, TinyImage, as_source, make_image
from wherry.agent.update import Outcome

WEIGHTS = random.Random(4).randbytes(4000)
MODES = {"bin/su": 0o4755, "bin/group": 0o2755, "bin/secret": 0o000, "bin/plain": 0o664}


def make_foreign(fresh: bytes) -> bytes:
    """A layer as no tool of ours writes it: owners, times, set-user-ID, files that nobody may read."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for number, (path, mode) in enumerate(MODES.items()):
            data = WEIGHTS + path.encode() + (fresh if number in (0, 3) else b"")
            member = tarfile.TarInfo(path)
            member.size, member.mode, member.mtime = len(data), mode, 1_700_000_000 + 1000 * number
            member.uid, member.uname = 1000, "somebody"
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def make(fresh: bytes) -> TinyImage:
    return make_image(make_foreign(fresh), entrypoint=["/bin/su"])


def test_modes_that_an_engine_does_not_keep(tmp_path: Path) -> None:
    operator, one, two = Operator(), make(b"1"), make(b"two")
    operator.release(1, one)
    first = operator.cut(one, None)
    operator.release(2, two)
    device = Device.simulated(tmp_path, operator)  # it unpacks as bubblewrap's does: no set-ID bits, all readable
    second = operator.cut(two, one)
    assert len(second) < 1500
    assert device.agent().apply(as_source(first)) is Outcome.UPDATED
    assert device.agent().apply(as_source(second)) is Outcome.UPDATED
    assert device.running == two.image_id
