"""The agent's verification as a client of TUF repositories, by the command line of the public conformance suite."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, MetaFile, TargetFile, Targets

from tests.simulators.tuf_repository import TufRepository

ROOT = Path(__file__).resolve().parents[2]
FIRST = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]


def load_client() -> Any:
    spec = importlib.util.spec_from_file_location("tuf_client", ROOT / "tools" / "tuf_client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Served:
    """Files over HTTP, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name.removeprefix("metadata/"))
                data = outer.files.get(name)
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def put(self, repository: TufRepository) -> None:
        self.files.update({f"metadata/{name}": data for name, data in repository.files.items()})


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def repository(served: Served) -> TufRepository:
    repository = TufRepository(datetime.now(UTC), dated=False)
    served.put(repository)
    return repository


class Client:
    def __init__(self, folder: Path, url: str, root: bytes) -> None:
        self.folder, self.out, self.url = folder / "metadata", folder / "out", url
        self.main = load_client().main
        (folder / "root.json").write_bytes(root)
        assert self.main(["--metadata-dir", str(self.folder), "init", str(folder / "root.json")]) == 0

    def refresh(self) -> int:
        return int(self.main(["--metadata-dir", str(self.folder), "--metadata-url", f"{self.url}/metadata/", "refresh"]))

    def download(self, *names: str) -> int:
        words = ["--metadata-dir", str(self.folder), "--metadata-url", f"{self.url}/metadata/"]
        words += [word for name in names for word in ("--target-name", name)]
        return int(self.main([*words, "--target-base-url", f"{self.url}/targets/", "--target-dir", str(self.out), "download"]))

    def version(self, role: str) -> int:
        return int(json.loads((self.folder / f"{role}.json").read_bytes())["signed"]["version"])


@pytest.fixture
def client(tmp_path: Path, served: Served, repository: TufRepository) -> Client:
    return Client(tmp_path, served.url, repository.roots[0])


def add_artefact(served: Served, targets: Targets, path: str, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    targets.targets[path] = TargetFile(len(data), {"sha256": digest}, path)
    above, slash, name = path.rpartition("/")
    served.files[f"targets/{above}{slash}{digest}.{name}"] = data


def test_the_order_of_requests(client: Client, served: Served, repository: TufRepository) -> None:
    assert client.refresh() == 0
    assert served.asked == FIRST
    assert {path.name for path in client.folder.iterdir()} == {
        f"{role}.json" for role in ("root", "timestamp", "snapshot", "targets")
    }
    served.asked.clear()
    assert client.refresh() == 0
    assert served.asked == ["2.root.json", "timestamp.json"]
    repository.update("timestamp")
    repository.next_root()
    served.put(repository)
    served.asked.clear()
    assert client.refresh() == 0
    assert served.asked == ["2.root.json", "3.root.json", "timestamp.json"]
    assert (client.version("root"), client.version("timestamp")) == (2, 2)


def test_what_is_believed_is_kept_step_by_step(client: Client, served: Served, repository: TufRepository) -> None:
    """The timestamp is good and stays, though the snapshot that it names is not."""
    client.refresh()
    repository.snapshot.version = 2
    repository.timestamp.version = 2
    repository.snapshot.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    repository.publish()
    served.put(repository)
    assert client.refresh() == 1
    assert (client.version("timestamp"), client.version("snapshot")) == (2, 1)


def test_rollback(client: Client, served: Served, repository: TufRepository) -> None:
    first = dict(repository.files)
    repository.update("targets", "snapshot", "timestamp")
    served.put(repository)
    assert client.refresh() == 0
    served.files.update({f"metadata/{name}": data for name, data in first.items()})
    assert client.refresh() == 1
    assert client.version("timestamp") == 2


def test_an_initial_root_that_is_none(tmp_path: Path, served: Served, repository: TufRepository) -> None:
    main = load_client().main
    (tmp_path / "bad.json").write_bytes(repository.sign("root", signers=[CryptoSigner.generate_ed25519()]))
    assert main(["--metadata-dir", str(tmp_path / "m"), "init", str(tmp_path / "bad.json")]) == 1
    assert main(["--metadata-dir", str(tmp_path / "m"), "--metadata-url", served.url, "refresh"]) == 1
    assert served.asked == []


def test_endless_data(client: Client, served: Served) -> None:
    served.files["metadata/timestamp.json"] += b" " * (1 << 20)
    assert client.refresh() == 1
    assert not (client.folder / "timestamp.json").exists()


def test_targets_are_fetched_once(client: Client, served: Served, repository: TufRepository) -> None:
    add_artefact(served, repository.targets, "path/to/one.txt", b"one")
    add_artefact(served, repository.targets, "two", b"two")
    repository.update("targets", "snapshot", "timestamp")
    served.put(repository)
    assert client.download("path/to/one.txt", "two") == 0
    assert sorted(path.read_bytes() for path in client.out.iterdir()) == [b"one", b"two"]
    served.asked.clear()
    assert client.download("two", "path/to/one.txt") == 0
    assert not [name for name in served.asked if name.startswith("targets/")]
    assert client.download("none") == 1


def test_another_content_is_not_kept(client: Client, served: Served, repository: TufRepository) -> None:
    add_artefact(served, repository.targets, "one", b"one")
    repository.update("targets", "snapshot", "timestamp")
    served.put(repository)
    name = next(name for name in served.files if name.startswith("targets/"))
    for other in (b"two", b"on", b"one and more"):
        served.files[name] = other
        assert client.download("one") == 1
    assert not client.out.exists()


def delegate(repository: TufRepository, above: Targets, role: str, signer: CryptoSigner, **options: Any) -> Targets:
    """A role below another one, signed by one key."""
    if above.delegations is None:
        above.delegations = Delegations({}, {})
    assert above.delegations.roles is not None
    above.delegations.roles[role] = DelegatedRole(
        role, [signer.public_key.keyid], 1, options.get("terminating", False), paths=["*"]
    )
    above.delegations.keys[signer.public_key.keyid] = signer.public_key
    repository.snapshot.meta[f"{role}.json"] = MetaFile(1)
    return Targets(1, None, datetime.now(UTC) + timedelta(days=1))


def test_delegations_are_walked_in_order(client: Client, served: Served, repository: TufRepository) -> None:
    """Each role with all of its own before the next; a terminating one ends the walk; names are quoted."""
    signer = CryptoSigner.generate_ed25519()
    first = delegate(repository, repository.targets, "A", signer)
    roles = {
        "A": first,
        "../C": delegate(repository, first, "../C", signer),
        "B": delegate(repository, repository.targets, "B", signer, terminating=True),
        "D": delegate(repository, repository.targets, "D", signer),
    }
    add_artefact(served, roles["B"], "wanted", b"data")
    for role, targets in roles.items():
        repository.files[f"1.{role.replace('/', '%2F')}.json"] = repository.sign("targets", targets, [signer])
    repository.update("targets", "snapshot", "timestamp")
    served.put(repository)
    assert client.download("wanted") == 0
    assert served.asked[3:-1] == ["2.targets.json", "1.A.json", "1...%2FC.json", "1.B.json"]
    assert (client.folder / "..%2FC.json").is_file()
    assert client.download("unknown") == 1
    assert "1.D.json" not in served.asked


def test_a_delegated_role_needs_its_own_key(client: Client, served: Served, repository: TufRepository) -> None:
    signer = CryptoSigner.generate_ed25519()
    targets = delegate(repository, repository.targets, "A", signer)
    add_artefact(served, targets, "wanted", b"data")
    repository.files["1.A.json"] = repository.sign("targets", targets, [CryptoSigner.generate_ed25519()])
    repository.update("targets", "snapshot", "timestamp")
    served.put(repository)
    assert client.download("wanted") == 1


def test_keys_of_other_kinds_and_names_without_numbers(tmp_path: Path, served: Served) -> None:
    """RSA and ECDSA, hashes and lengths, and a repository without consistent snapshots."""
    other = TufRepository(datetime.now(UTC), dated=False)
    rsa, ecdsa = CryptoSigner.generate_rsa(size=2048), CryptoSigner.generate_ecdsa()
    kinds = {"root": rsa, "timestamp": ecdsa, "snapshot": rsa}
    for role, signer in kinds.items():
        other.rotate(role)
        other.root.roles[role].keyids = []
        other.root.add_key(signer.public_key, role)
        other.signers[role] = [signer]
    other.root.consistent_snapshot = False
    other.roots.clear()
    other.publish_root()
    add_artefact(served, other.targets, "path/one", b"one")
    served.files["targets/path/one"] = b"one"
    raw = other.sign("targets")
    other.snapshot.meta["targets.json"] = MetaFile(1, len(raw), {"sha256": hashlib.sha256(raw).hexdigest()})
    other.freeze()
    served.put(other)
    for role in ("snapshot", "targets"):
        served.files[f"metadata/{role}.json"] = other.files[f"1.{role}.json"]
    client = Client(tmp_path, served.url, other.roots[-1])
    assert client.download("path/one") == 0
    assert served.asked == ["2.root.json", "timestamp.json", "snapshot.json", "targets.json", "targets/path/one"]
    served.files["metadata/targets.json"] += b" "
    (client.folder / "targets.json").unlink()
    assert client.refresh() == 1


def test_a_repository_of_another_tool(shared_data: Path, tmp_path: Path, served: Served) -> None:
    """Made by tuf-on-ci: ecdsa keys, delegations, empty signatures, fields that TUF does not know."""
    folder = shared_data / "tuf" / "tuf-on-ci-0.11"
    if not folder.is_dir():
        pytest.skip("no TUF repository among the shared data")
    served.files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    client = Client(tmp_path, served.url, (folder / "initial_root.json").read_bytes())
    assert client.refresh() == 0
    assert client.download((folder / "targetpath").read_text().strip()) == 0
    (artefact,) = client.out.iterdir()
    assert artefact.read_bytes() in served.files.values()


def test_the_executable(tmp_path: Path, served: Served, repository: TufRepository) -> None:
    (tmp_path / "root.json").write_bytes(repository.roots[0])
    words = [str(ROOT / "tools" / "tuf-client"), "--metadata-dir", str(tmp_path / "m"), "--metadata-url", f"{served.url}/metadata"]
    for command, code in (["init", str(tmp_path / "root.json")], 0), (["refresh"], 0), (["refresh", "--nonsense"], 1):
        assert subprocess.run([*words, *command], capture_output=True, check=False).returncode == code
    assert served.asked == FIRST
