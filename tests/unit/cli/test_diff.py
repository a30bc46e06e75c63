"""`wherry diff` as a person types it: real stores, locks and requirements files, text and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.deliver.images import hex_of
from tests.unit.formats.test_foreign_locks import CONDA_LOCK, pixi_lock
from wherry.cli.diff import register
from wherry.errors import DeclarationError, LockError, StoreError, UsageError
from wherry.formats.lockfile import render_lock
from wherry.formats.oci_json import parse_index, parse_manifest, render_config, render_index, render_manifest
from wherry.model.digest import DiffId, Digest
from wherry.model.lock import LayerKind, Lock, LockedInterpreter, LockedLayer, LockedWheel, PlatformLock
from wherry.model.oci import CONFIG, INDEX, LAYER_GZIP, MANIFEST, Descriptor, History
from wherry.model.platform import Platform
from wherry.store.disk import DiskStore
from wherry.store.places import store_path

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
LAYERS = (("wheel", "pandas", "pandas 2.2.2", 12_000_000), ("code", "code", "", 3_000), ("model", "m.pkl", "m.pkl", 5_000))


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def diff(app: typer.Typer, *words: str) -> str:
    done = CliRunner().invoke(app, ["diff", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def diff_json(app: typer.Typer, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(diff(app, *words, "--json"))
    return document


def store_image(name: str, *layers: tuple[str, str, str, int], platforms: tuple[Platform, ...] = (AMD64, ARM64)) -> Descriptor:
    """An image whose layers are told of and not there: a difference reads none."""
    store = DiskStore(store_path(os.environ))
    manifests = []
    for platform in platforms:
        keys = [hex_of(f"{layer}") for layer in layers]
        config = render_config(
            platform=platform,
            created="1980-01-01T00:00:00Z",
            diff_ids=[DiffId(key) for key in keys],
            history=[History(created_by=f"wherry layer {kind} {title}", comment=members) for kind, title, members, _ in layers],
        )
        manifest = render_manifest(
            config=Descriptor(media_type=CONFIG, digest=store.put_bytes(config), size=len(config)),
            layers=[
                Descriptor(media_type=LAYER_GZIP, digest=Digest(hex_of(key)), size=layer[3])
                for key, layer in zip(keys, layers, strict=True)
            ],
        )
        manifests.append(Descriptor(media_type=MANIFEST, digest=store.put_bytes(manifest), size=len(manifest), platform=platform))
    index = render_index(manifests)
    descriptor = Descriptor(media_type=INDEX, digest=store.put_bytes(index), size=len(index))
    store.tag(name, descriptor)
    return descriptor


@pytest.fixture
def retrained() -> Descriptor:
    """Two images; gives the former one. Their models differ in size only, so in everything."""
    base = store_image("anomaly:1", *LAYERS)
    store_image("anomaly:latest", *LAYERS[:2], ("model", "m.pkl", "m.pkl", 5_047))
    return base


def test_images_by_digest_and_name(app: typer.Typer, retrained: Descriptor) -> None:
    document = diff_json(app, str(retrained.digest), "anomaly")
    assert (document["schema"], document["of"]) == (1, "images")
    assert [each["platform"] for each in document["platforms"]] == ["linux/amd64", "linux/arm64"]
    for each in document["platforms"]:
        assert [(cause["cause"], cause["size"]) for cause in each["causes"]] == [("m.pkl", 5_047)]
        assert each["kept"] == {"layers": 2, "size": 12_003_000}
        assert each["single_layer"]["layers"] == 12_008_047
        assert each["pull"]["index"] > 0


@pytest.mark.usefixtures("retrained")
def test_the_fleet_pays(app: typer.Typer) -> None:
    document = diff_json(app, "anomaly:1", "anomaly", "--devices", "100000", "--platform", "linux/arm64")
    [platform] = document["platforms"]
    moved = platform["pull"]["total"]
    assert platform["cost"]["amount"] == f"{moved * 100_000 * 25 / 1e9:.2f}"
    assert float(platform["single_layer_cost"]["amount"]) > 25_000
    text = diff(app, "anomaly:1", "anomaly", "--devices", "1000", "--price-per-gb", "0.09")
    assert "USD for 1,000 devices (0.09 per GB)" in text
    assert "m.pkl" in text


@pytest.mark.usefixtures("retrained")
def test_a_tariff_file(app: typer.Typer, tmp_path: Path) -> None:
    tariff = tmp_path / "sim.toml"
    tariff.write_text('name = "SIM"\ncurrency = "EUR"\nprice_per_mb = "0.10"\nrounding = "1 MB"\n')
    document = diff_json(app, "anomaly:1", "anomaly", "--tariff", str(tariff))
    assert document["platforms"][0]["cost"] == {
        "tariff": "SIM",
        "devices": 1,
        "billed": 1_000_000,
        "charged": 1_000_000,
        "total_moved": document["platforms"][0]["pull"]["total"],
        "amount": "0.10",
        "currency": "EUR",
    }
    with pytest.raises(UsageError, match="exclude"):
        diff(app, "anomaly:1", "anomaly", "--tariff", str(tariff), "--price-per-gb", "1")
    tariff.write_text("price = 1")
    with pytest.raises(DeclarationError):
        diff(app, "anomaly:1", "anomaly", "--tariff", str(tariff))


class _Registry(BaseHTTPRequestHandler):
    """Just enough of a registry to read from, over the test's store: tag 2 is the latest image."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        store = DiskStore(store_path(os.environ))
        _, _, kind, name = self.path.rsplit("/", 3)
        self.asked.append(kind)
        descriptor = store.resolve("anomaly:latest" if name == "2" else name) if kind == "manifests" else None
        raw = store.read_bytes(descriptor.digest if descriptor else Digest.parse(name))
        self.send_response(200)
        self.send_header("Content-Type", descriptor.media_type if descriptor else "application/octet-stream")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    _Registry.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("retrained")
def test_an_image_in_a_registry(app: typer.Typer, registry: str) -> None:
    local = diff_json(app, "anomaly:1", "anomaly", "--platform", "linux/arm64")
    assert diff_json(app, "anomaly:1", f"{registry}/team/anomaly:2", "--platform", "linux/arm64") == local
    assert set(_Registry.asked) == {"manifests", "blobs"}
    assert _Registry.asked.count("blobs") == 1  # the config, and no layer
    both = diff_json(app, "anomaly:1", f"{registry}/team/anomaly:2")
    assert [each["platform"] for each in both["platforms"]] == ["linux/amd64", "linux/arm64"]


def test_the_same_image(app: typer.Typer, retrained: Descriptor) -> None:
    assert "nothing to move" in diff(app, "anomaly:1", str(retrained.digest))


@pytest.mark.usefixtures("retrained")
def test_a_former_image_whose_name_moved_on(app: typer.Typer) -> None:
    former = store_image("moving:latest", *LAYERS, platforms=(AMD64,))
    store_image("moving:latest", *LAYERS[:2], platforms=(AMD64,))
    [manifest] = parse_index(DiskStore(store_path(os.environ)).read_bytes(former.digest)).manifests
    config = parse_manifest(DiskStore(store_path(os.environ)).read_bytes(manifest.digest)).config
    for known in (str(former.digest), former.digest.hex[:12], str(manifest.digest), str(config.digest)[:19]):
        assert "m.pkl removed" in diff(app, known, "moving", "--platform", "linux/amd64")
    with pytest.raises(StoreError):
        diff(app, "0" * 12, "moving")


@pytest.mark.usefixtures("retrained")
def test_what_cannot_be_compared(app: typer.Typer) -> None:
    store_image("small:latest", *LAYERS, platforms=(ARM64,))
    with pytest.raises(StoreError, match="no platform in common"):
        diff(app, "small", "anomaly", "--platform", "linux/amd64")
    with pytest.raises(StoreError):
        diff(app, "anomaly", "nothing-here")
    with pytest.raises(UsageError, match="not a number"):
        diff(app, "anomaly:1", "anomaly", "--price-per-gb", "much")


def test_requirements(app: typer.Typer, tmp_path: Path) -> None:
    base, target = tmp_path / "a.txt", tmp_path / "b.txt"
    base.write_text("pandas==2.2.2\nnumpy\nsix\n")
    target.write_text("pandas==2.2.3\nnumpy>=2 ; python_version >= '3.11'\nrequests[socks]\n")
    lines = diff(app, str(base), str(target)).splitlines()
    assert "pandas ==2.2.2 → ==2.2.3" in lines
    assert "six removed" in lines
    assert any(line.startswith("numpy (any) → >=2") for line in lines)
    document = diff_json(app, str(base), str(base))
    assert document == {"schema": 1, "of": "environments", "changes": []}
    with pytest.raises(UsageError, match="environment file"):
        diff(app, str(base), "anomaly")


OLD_CONDA = """\
channels: [pytorch, defaults]
dependencies:
- python=3.10
- numpy=1.26
- pywin32 # [win]
- scipy
- pip:
  - requests==2.31
  - flask
variables: {LEVEL: 1}
"""
NEW_CONDA = """\
channels: [conda-forge]
dependencies:
- python=3.11
- conda-forge::numpy=1.26
- pandas >=2
- pip:
  - requests==2.32
  - scipy
variables: {LEVEL: 2, PORT: 80}
"""


def test_two_environments_of_conda(app: typer.Typer, tmp_path: Path) -> None:
    base, target = tmp_path / "a.yml", tmp_path / "b.yml"
    base.write_text(OLD_CONDA)
    target.write_text(NEW_CONDA)
    assert diff(app, str(base), str(target)).splitlines() == [
        "channels pytorch, defaults → conda-forge",
        "numpy =1.26 → =1.26 from conda-forge",
        "pandas >=2 added",
        "pip flask removed",
        "pip requests ==2.31 → ==2.32",
        "pip scipy added",
        "python =3.10 → =3.11",
        "pywin32 removed",
        "scipy removed",
        "variable LEVEL 1 → 2",
        "variable PORT 80 added",
    ]
    assert diff(app, str(base), str(base)).splitlines() == ["nothing changed"]
    assert diff_json(app, str(base), str(target))["changes"][0]["name"] == "channels"
    (tmp_path / "pixi.lock").write_text("version: 6\n")
    with pytest.raises(UsageError, match="resolved already, the other is not"):
        diff(app, str(base), str(tmp_path / "pixi.lock"))
    with pytest.raises(UsageError, match="no such file"):
        diff(app, str(base), str(tmp_path / "c.yml"))


def test_where_packages_are_looked_for_is_compared_too(app: typer.Typer, tmp_path: Path) -> None:
    base, target = tmp_path / "a.txt", tmp_path / "b.txt"
    base.write_text("--index-url https://me:s3cret@one.example/simple\n--pre\nsix\n")
    target.write_text("--extra-index-url https://me:s3cret@two.example/simple\n--find-links ./wheels\nsix\n")
    assert diff(app, str(base), str(target)).splitlines() == [
        "--extra-index-url https://two.example/simple added",
        "--find-links wheels added",
        "--index-url removed",
        "--pre removed",
    ]
    assert "s3cret" not in str(diff_json(app, str(base), str(target)))


def test_an_error_says_which_of_two_files_of_one_name(app: typer.Typer, tmp_path: Path) -> None:
    for folder, text in (("a", "dependencies: [numpy]\n"), ("b", "dependencies:\n- numpy=\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "environment.yml").write_text(text)
    with pytest.raises(DeclarationError) as caught:
        diff(app, str(tmp_path / "a/environment.yml"), str(tmp_path / "b/environment.yml"))
    assert caught.value.where == f"{tmp_path}/b/environment.yml:2"


def test_two_locks_of_another_tool(app: typer.Typer, tmp_path: Path) -> None:
    base, target = tmp_path / "pixi.lock", tmp_path / "conda-lock.yml"
    base.write_text(pixi_lock(6))
    target.write_text(CONDA_LOCK.replace("3.12.1", "3.12.2"))
    assert diff(app, str(base), str(base)).splitlines() == ["nothing changed"]
    lines = diff(app, str(base), str(target)).splitlines()
    assert lines == [
        "tool removed",
        "linux-64: python 3.12.1 → 3.12.2",
        "linux-aarch64: pip reading-kit removed",
        "linux-aarch64: python removed",
    ]
    target.write_text(pixi_lock(7).replace("h1_0_cpython", "h2_0_cpython"))
    (tmp_path / "b").mkdir()
    target = target.rename(tmp_path / "b" / "pixi.lock")
    assert diff(app, str(base), str(target)).splitlines() == ["python 3.12.1 h1_0_cpython → 3.12.1 h2_0_cpython"]


def write_lock(path: Path, pandas: str) -> None:
    wheel = LockedWheel(
        name="pandas", version=pandas, file=f"pandas-{pandas}-py3-none-any.whl", size=12_000_000, sha256=Digest(hex_of(pandas))
    )
    platform = PlatformLock(
        platform=AMD64,
        base=None,
        interpreter=LockedInterpreter(source="debian", version="3.11.2", path="/usr/bin/python3.11"),
        debs=(),
        wheels=(wheel,),
        layers=(LockedLayer(name="pandas", kind=LayerKind.WHEEL, members=(f"pandas {pandas}",)),),
    )
    path.write_text(render_lock(Lock(declaration=Digest(hex_of("declared")), platforms=(platform,))))


def test_locks_in_files_folders_and_git(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "wherry.lock"
    write_lock(lock, "2.2.2")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example", "-C", str(tmp_path)]
    for words in (["init", "-q"], ["add", "wherry.lock"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    write_lock(lock, "2.2.3")
    monkeypatch.chdir(tmp_path)
    for base in ("git:HEAD", "git:HEAD:wherry.lock"):
        document = diff_json(app, base, ".", "--devices", "10")
        assert document["of"] == "locks"
        [platform] = document["platforms"]
        assert platform["changes"] == [{"name": "pandas", "base": "2.2.2", "target": "2.2.3"}]
        assert platform["cost"]["amount"] == "3.00"
    assert "pandas 2.2.2 → 2.2.3" in diff(app, "git:HEAD", "wherry.lock")
    assert "nothing changed" in diff(app, "wherry.lock", str(lock))
    for wrong in ("git:", "git:--output=x:y"):
        with pytest.raises(UsageError):
            diff(app, wrong, "wherry.lock")
    with pytest.raises(LockError, match="git has no such file"):
        diff(app, "git:nowhere", "wherry.lock")
    with pytest.raises(UsageError, match="is a lock"):
        diff(app, "wherry.lock", "anomaly")
