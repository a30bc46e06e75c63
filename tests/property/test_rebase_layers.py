"""The law of a difference: over the former image it makes what was taken as it is in the new one, and touches nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.assemble.rebase_layers import Taken, list_difference, take_from_layers
from wherry.assemble.spool import Spool
from wherry.formats.tar import EntryKind, TarEntry, add_parents, file_entry, stream_tar, symlink_entry

_NAMES = st.sampled_from(["a", "b", "deep", "x.bin"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_FILES = st.builds(
    lambda data, mode, user: (data, mode, user), st.binary(max_size=4), st.sampled_from([0o644, 0o600]), st.integers(0, 1)
)
_CONTENTS = st.one_of(_FILES, st.sampled_from(["a", "../b"]))
_TREES = st.dictionaries(_PATHS, _CONTENTS, max_size=6)


def make_layer(tree: dict[str, object], *extra: TarEntry) -> bytes:
    """A tar with the tree below ``taken``; of paths that cannot both be, the shorter one counts."""
    plain = {path: one for path, one in tree.items() if not any(path.startswith(f"{other}/") for other in tree)}
    entries = list(extra)
    for path, content in plain.items():
        name = f"taken/{path}"
        if isinstance(content, str):
            entries.append(symlink_entry(name, content))
        else:
            data, mode, user = content  # type: ignore[misc]
            entries.append(TarEntry(path=name, mode=mode, size=len(data), content=data, owner=(user, user)))
    entries.append(TarEntry(path="taken", kind=EntryKind.DIRECTORY, mode=0o755))
    return b"".join(stream_tar(add_parents(entries)))


def read(*layers: bytes, taken: str = "taken", spool: Spool | None = None) -> Taken:
    return take_from_layers([lambda layer=layer: [layer] for layer in layers], [taken], spool, "test")


def show(found: Taken) -> dict[str, object]:
    return {path: (one.entry.kind, one.entry.mode, one.entry.owner, one.entry.link, one.sha256) for path, one in found.items()}


@settings(max_examples=80, deadline=None)
@given(new=_TREES, former=_TREES, lower=_TREES)
def test_over_the_former_image_it_is_the_new_one(
    new: dict[str, object], former: dict[str, object], lower: dict[str, object]
) -> None:
    beside = file_entry("beside", b"stays")
    below = [make_layer(lower, beside), make_layer(former)]
    with tempfile.TemporaryDirectory() as folder, Spool(Path(folder)) as spool:
        have, had = read(make_layer(new), spool=spool), read(*below)
        entries = list_difference(have, had, "taken")
        layer = b"".join(stream_tar(entries))
        assert show(read(*below, layer)) == show(have)
        assert all(entry.path == "taken" or entry.path.startswith("taken/") for entry in entries)
        assert list_difference(have, read(*below, layer), "taken") == ()
    assert show(read(*below, layer, taken="beside")).keys() == {"beside"}
