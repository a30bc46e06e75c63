"""What a device reads in documents that are damaged, endless or of another form."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata as TufMetadata
from tuf.api.metadata import TargetFile

from tests.simulators.tuf_repository import AMD64, NOW, TufRepository, make_target
from tests.unit.agent.trust_stores import refuse, take
from wherry.agent.trust import TrustStore
from wherry.errors import FormatError, TrustError

# Foreign bytes


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 10_000,
        b'{"signatures":[],"signed":{}}',
        b'{"signatures":[],"signed":{"_type":"timestamp","version":"1"}}',
        b"\xff\xfe",
        b'{"signed":' * 1500,
    ],
)
def test_what_is_no_document(store: TrustStore, repository: TufRepository, role: str, raw: bytes) -> None:
    refuse(store, replace(repository.publish(), **{role: raw}), r"not a document of TUF|this is timestamp")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_endless_data(store: TrustStore, repository: TufRepository, role: str) -> None:
    metadata = repository.publish()
    refuse(store, replace(metadata, **{role: getattr(metadata, role) + b" " * (1 << 20)}), "at most .* are read")


def test_an_endless_root(store: TrustStore, repository: TufRepository) -> None:
    refuse(store, replace(repository.publish(), roots=(repository.roots[0] + b" " * (1 << 20),)), "at most .* are read")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_every_flipped_bit_is_refused_or_means_nothing(store: TrustStore, repository: TufRepository, role: str) -> None:
    metadata = repository.publish()
    raw = getattr(metadata, role)
    for place in range(0, len(raw), 7):
        damaged = raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :]
        try:
            verified = store.verify_metadata(replace(metadata, **{role: damaged}), AMD64, now=NOW)
        except TrustError:
            continue
        # What is not signed may differ: hex digits' case, the name of an unused field.
        assert verified.target == make_target(1)
        assert TufMetadata.from_bytes(damaged).signed == TufMetadata.from_bytes(raw).signed


def test_damaged_files_of_the_store_count_as_none(store: TrustStore, repository: TufRepository, tmp_path: Path) -> None:
    take(store, repository.publish())
    for name in ("timestamp", "snapshot", "targets"):
        (tmp_path / "trust" / f"{name}.json").write_bytes(b"\0" * 100)
    assert take(store, repository.publish()).target.release == 1
    (tmp_path / "trust/root.json").write_bytes(b"\0" * 100)
    with pytest.raises(TrustError):
        store.read()


# What the targets say


@pytest.mark.parametrize(
    "custom",
    [
        None,
        [],
        {"release": 0, "layers": []},
        {"release": True, "layers": []},
        {"release": 1, "layers": {}},
        {"release": 1, "layers": [{}] * 600},
        {"release": 1, "layers": [{"diff_id": "sha256:0", "size": 1}]},
        {"release": 1, "layers": [{"diff_id": "sha256:" + "0" * 64, "size": -1}]},
        {"release": 1, "layers": [], "memory": 1 << 60},
        {"release": 1, "layers": [], "health": {"ping": "x", "within": 1, "seconds": 1}},
        {"release": 1, "layers": [], "health": {"http": "80/", "log": "x", "within": 1, "seconds": 1}},
        {"release": 1, "layers": [], "health": {"within": 1, "seconds": 1}},
    ],
)
def test_a_signed_release_of_another_form(store: TrustStore, repository: TufRepository, custom: object) -> None:
    path = str(AMD64)
    repository.targets.targets[path] = TargetFile(5, {"sha256": "0" * 64}, path, {"custom": custom})
    with pytest.raises(FormatError):
        store.verify_metadata(repository.publish(), AMD64, now=NOW)


def test_unknown_members_are_let_be(store: TrustStore, repository: TufRepository) -> None:
    repository.targets.targets[str(AMD64)].unrecognized_fields["custom"]["later"] = {"a": 1}
    assert take(store, repository.publish()).target == make_target(1)


def test_to_believe_takes_no_http_stack() -> None:
    """python-tuf's own client would bring one along; a device counts every byte that it says."""
    # Devices have none of the clouds' libraries, which securesystemslib loads where it finds them.
    program = "import sys; sys.modules['azure'] = None; import wherry.agent.trust; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"urllib3", "requests", "http.client", "ssl", "typer", "rich", "msgspec", "tuf.ngclient"} & set(loaded)
