"""An image that carries its sources: pushed with all that it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_tool
from tests.flow.conftest import BOTH, Seed, Wherry, locked_project
from tests.simulators.python_index import make_wheel
from tests.simulators.registry import RegistrySimulator
from wherry.model.oci import INDEX

pytestmark = pytest.mark.network


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


def push(wherry: Wherry, project: Path, reference: str, *words: str) -> dict[str, Any]:
    return dict(json.loads(wherry.ok("push", reference, "--sources", "--json", *words, cwd=project)))


def test_a_push_attaches_what_the_lock_names(wherry: Wherry, project: Path, registry: RegistrySimulator) -> None:
    wherry.build(project)
    told = push(wherry, project, f"{registry.host}/team/tiny:1")
    names = {blob["name"] for blob in told["sources"]["blobs"]}
    assert {"recipe", "wherry.lock", "tinyone-1.0-py3-none-any.whl"} < names
    assert any(name.startswith("libc6_") for name in names)
    assert {blob["way"] for blob in told["sources"]["blobs"]} == {"sent"}
    kept = registry.repository("team/tiny")
    (artifact,) = told["sources"]["artifacts"]
    manifest = json.loads(kept.manifests[artifact][0])
    assert manifest["subject"]["digest"] in kept.manifests
    document = kept.blobs[manifest["config"]["digest"]]
    assert str(project).encode() not in document
    assert b"127.0.0.1" not in document
    again = push(wherry, project, f"{registry.host}/team/tiny:2", "--sbom", "spdx", "--sbom", "cyclonedx")
    listed = json.loads(kept.manifests[kept.tags[f"sha256-{manifest['subject']['digest'].removeprefix('sha256:')}"]][0])
    kinds = {one["artifactType"]: one["digest"] for one in listed["manifests"]}
    assert kinds.keys() == {"application/vnd.wherry.sources.v1", "application/spdx+json", "application/vnd.cyclonedx+json"}
    spdx = json.loads(kept.manifests[kinds["application/spdx+json"]][0])
    attached = kept.blobs[spdx["layers"][0]["digest"]]
    assert attached.decode() == wherry.ok("export", "sbom", "--platform", "linux/amd64", cwd=project)
    assert {"tinyone", "libc6"} <= {package["name"] for package in json.loads(attached)["packages"]}
    assert {blob["way"] for blob in again["sources"]["blobs"]} == {"there"}
    assert again["sources"]["artifacts"] == told["sources"]["artifacts"]


def test_only_of_what_was_built_here(
    wherry: Wherry, seed: Seed, project: Path, tmp_path: Path, registry: RegistrySimulator
) -> None:
    wherry.build(project, "-t", "kept:1")
    (project / "main.py").write_text("print('another')\n")
    wherry.build(project)
    said = wherry.refused("push", f"{registry.host}/team/tiny:1", "--sources", "--image", "kept:1", cwd=project, code=13)
    assert "is not what this project's last build made" in said
    never = locked_project(seed, tmp_path / "never")
    assert "nobody built" in wherry.refused(
        "push", f"{registry.host}/team/tiny:1", "--sources", "--image", "kept:1", cwd=never, code=13
    )
    assert registry.repository("team/tiny").tags == {}


def rebuild(wherry: Wherry, folder: Path, *words: str) -> dict[str, Any]:
    return dict(json.loads(wherry.ok("check", "--rebuild", "--json", *words, cwd=folder)))


def cut_off(wherry: Wherry, tmp_path: Path) -> Wherry:
    """A machine that was never here: no cache, no store, no index, no apt, and no way out but to loopback."""
    nowhere = "http://127.0.0.1:9"
    alone = replace(wherry, store=tmp_path / "other-store", cache=tmp_path / "other-cache")
    apt = tmp_path / "apt.conf"
    apt.write_text('Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "/dev/null";\n')
    return alone.with_env(
        UV_DEFAULT_INDEX=f"{nowhere}/simple",
        PIP_INDEX_URL=f"{nowhere}/simple",
        APT_CONFIG=str(apt),
        https_proxy=nowhere,
        http_proxy=nowhere,
    )


def test_built_again_from_the_registry_alone(wherry: Wherry, seed: Seed, tmp_path: Path, registry: RegistrySimulator) -> None:
    project = locked_project(seed, tmp_path / "carried", {"models/model.pkl": b"weights" * 500})
    built = wherry.build(project, *BOTH)
    push(wherry, project, f"{registry.host}/team/carried:1")
    bare = tmp_path / "bare"
    bare.mkdir()
    asked = len(seed.index.requests)
    told = rebuild(cut_off(wherry, tmp_path), bare, f"{registry.host}/team/carried:1")
    assert len(seed.index.requests) == asked
    proofs = {proof["platform"]: proof for proof in told["images"]}
    for image in built["images"]:
        proof = proofs[image["platform"]]
        assert proof["equal"], proof["differences"]
        assert proof["image_id"] == {"expected": image["config"], "found": image["config"]}
        assert [layer["found"] for layer in proof["layers"]] == [layer["diff_id"] for layer in image["layers"]]
        assert [layer["name"] for layer in proof["layers"] if not layer["built"]] == ["code", "models/model.pkl"]
    assert not list((tmp_path / "other-cache").glob("rebuild-*"))


def test_built_again_from_the_cache_without_any_network(wherry: Wherry, project: Path) -> None:
    require_tool("unshare")
    wherry.build(project)
    said = wherry.ok("check", "--rebuild", "--offline", cwd=project, prefix=("unshare", "--net", "--map-root-user"))
    assert "equal    image ID sha256:" in said
    assert "differs" not in said
    assert "nothing else" in wherry.refused("check", "--rebuild", "--files", cwd=project, code=2)


class Attached:
    """The one artifact of an image in the simulator, to be replaced by another one."""

    def __init__(self, registry: RegistrySimulator, name: str, digest: str) -> None:
        self.registry, self.name, self.kept = registry, name, registry.repository(name)
        self.manifest = json.loads(self.kept.manifests[digest][0])
        self.tag = next(tag for tag in self.kept.tags if tag.startswith("sha256-"))

    def blob(self, number: int) -> bytes:
        part = self.manifest["config"] if number < 0 else self.manifest["layers"][number]
        return self.kept.blobs[part["digest"]]

    def put(self, number: int, data: bytes) -> None:
        part = self.manifest["config"] if number < 0 else self.manifest["layers"][number]
        part.update(digest=self.registry.add_blob(self.name, data), size=len(data))

    def find(self, start: str) -> int:
        named = [layer.get("annotations", {}).get("org.opencontainers.image.title", "") for layer in self.manifest["layers"]]
        return next(number for number, name in enumerate(named) if name.startswith(start))

    def publish(self) -> None:
        raw = json.dumps(self.manifest).encode()
        digest = self.registry.add_manifest(self.name, raw, self.manifest["mediaType"])
        entry = {
            "mediaType": self.manifest["mediaType"],
            "digest": digest,
            "size": len(raw),
            "artifactType": self.manifest["artifactType"],
        }
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        self.registry.add_manifest(self.name, json.dumps(index).encode(), INDEX, self.tag)


@pytest.fixture
def attached(wherry: Wherry, project: Path, registry: RegistrySimulator) -> Attached:
    wherry.build(project)
    (artifact,) = push(wherry, project, f"{registry.host}/team/tiny:1")["sources"]["artifacts"]
    return Attached(registry, "team/tiny", artifact)


def test_what_differs_is_named(wherry: Wherry, attached: Attached, tmp_path: Path) -> None:
    """Sources that give another image: another wheel of the same name in the lock, another entrypoint in the document."""
    wheel = attached.find("tinyone-")
    other = make_wheel("tinyone", "1.0", build="MORE = True\n")
    lock = attached.blob(0).decode()
    former = attached.manifest["layers"][wheel]
    changed = lock.replace(former["digest"].removeprefix("sha256:"), hashlib.sha256(other.data).hexdigest())
    changed = changed.replace(f"size = {former['size']}", f"size = {len(other.data)}")
    document = json.loads(attached.blob(-1))
    document["recipe"]["entrypoint"] = ["/bin/false"]
    attached.put(0, changed.encode())
    attached.put(-1, json.dumps(document).encode())
    attached.put(wheel, other.data)
    attached.publish()
    done = wherry.run("check", "--rebuild", f"{attached.registry.host}/team/tiny:1", cwd=tmp_path)
    assert done.returncode == 20, done.stderr
    told = [line.strip() for line in done.stdout.splitlines() if "differs" in line]
    assert any(line.startswith("differs  layer wheels (wheels): the image has sha256:") for line in told), done.stdout
    assert any(line.startswith('differs  config.Entrypoint: the image has ["python') for line in told), done.stdout
    assert not any("layer base" in line or "layer python" in line for line in told)
    assert told[-1].startswith("differs  image ID sha256:")


def test_sources_that_are_not_whole_are_refused(wherry: Wherry, attached: Attached, tmp_path: Path) -> None:
    reference = f"{attached.registry.host}/team/tiny:1"
    wheel = attached.find("tinyone-")
    held = attached.manifest["layers"][wheel]
    attached.kept.blobs[held["digest"]] = attached.blob(wheel)[:-1] + b"X"
    assert held["digest"] in wherry.refused("check", "--rebuild", reference, cwd=tmp_path, code=15)
    attached.manifest["layers"].pop(wheel)
    attached.publish()
    assert "lack 1 of" in wherry.refused("check", "--rebuild", reference, cwd=tmp_path, code=13)
    held["annotations"]["org.opencontainers.image.title"] = "../../evil"
    attached.manifest["layers"].append(held)
    attached.publish()
    assert "no name of a file" in wherry.refused("check", "--rebuild", reference, cwd=tmp_path, code=12)
    attached.kept.tags.pop(attached.tag)
    assert "carries no sources" in wherry.refused("check", "--rebuild", reference, cwd=tmp_path, code=13)
