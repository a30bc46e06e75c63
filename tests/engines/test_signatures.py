"""Signatures in a real registry, held against verifiers of other makers: cosign, and containers/image as skopeo has it.

Both are Debian trixie's: bookworm has no cosign, and its skopeo was built without these signatures.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.engines.newer_debian import find_program, find_tree
from tests.engines.registry_fixture import RealRegistry, real_registry
from tests.unit.store.tiny import put_index
from wherry.formats.signing_keys import SigningKey, parse_private_key
from wherry.model.reference import Reference
from wherry.publish.push import plan_push, push_image
from wherry.publish.signatures import Signed, sign_images
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore

__all__ = ["real_registry"]
pytestmark = pytest.mark.engine


@dataclass(frozen=True, kw_only=True)
class Pair:
    key: SigningKey
    public: Path


@pytest.fixture(scope="module")
def tree() -> Path:
    return find_tree("signing", "cosign", "skopeo")


@pytest.fixture
def access(tmp_path: Path) -> Iterator[RegistryAccess]:
    opened = access_registries({}, cache=tmp_path / "cache")
    yield opened
    opened.close()


def make_pair(folder: Path, name: str, private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> Pair:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = folder / f"{name}.pub"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return Pair(key=parse_private_key(pem, name, lambda: ""), public=public)


def push_signed(access: RegistryAccess, folder: Path, reference: Reference, key: SigningKey) -> Signed:
    store = DiskStore(folder / "store")
    plan = plan_push(store, put_index(store))
    push_image(access, store, plan, reference)
    return sign_images(access, reference, [one.descriptor for one in plan.documents], (), key)


def copy_trusted(tree: Path, folder: Path, reference: Reference, public: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """skopeo takes the image if its policy allows it: signed by this key, found under cosign's tags."""
    lookaside = folder / "registries.d"
    lookaside.mkdir(exist_ok=True)
    (lookaside / "here.yaml").write_text(f"docker:\n  {reference.registry}:\n    use-sigstore-attachments: true\n")
    rule = {"type": "sigstoreSigned", "keyPath": str(public), "signedIdentity": {"type": "matchRepository"}}
    policy = {"default": [{"type": "reject"}], "transports": {"docker": {reference.registry: [rule]}}}
    (folder / "policy.json").write_text(json.dumps(policy))
    target = f"dir:{folder / public.stem}"
    places = ["--policy", str(folder / "policy.json"), "--registries.d", str(lookaside)]
    command = [*find_program(tree, "skopeo"), *places, "copy", "--src-tls-verify=false", *words]
    return subprocess.run([*command, f"docker://{reference}", target], capture_output=True, text=True)


def test_skopeo_takes_what_the_key_signed_and_nothing_else(
    tree: Path, real_registry: RealRegistry, tmp_path: Path, access: RegistryAccess
) -> None:
    own = make_pair(tmp_path, "own", ec.generate_private_key(ec.SECP256R1()))
    other = make_pair(tmp_path, "other", ec.generate_private_key(ec.SECP256R1()))
    reference = Reference(real_registry.host, "signed/tiny", "1")
    assert push_signed(access, tmp_path, reference, own.key).added == 3
    assert push_signed(access, tmp_path, reference, own.key).added == 0
    done = copy_trusted(tree, tmp_path, reference, own.public, "--override-arch=arm64")
    assert done.returncode == 0, done.stderr
    refused = copy_trusted(tree, tmp_path, reference, other.public)
    assert refused.returncode != 0
    assert "invalid signature when validating" in refused.stderr


def test_cosign_verifies_the_index_and_each_manifest(
    tree: Path, real_registry: RealRegistry, tmp_path: Path, access: RegistryAccess
) -> None:
    own = make_pair(tmp_path, "own", ec.generate_private_key(ec.SECP256R1()))
    other = make_pair(tmp_path, "other", ec.generate_private_key(ec.SECP256R1()))
    reference = Reference(real_registry.host, "signed/cosign", "1")
    signed = push_signed(access, tmp_path, reference, own.key)
    for named in (reference, *(replace(reference, tag=None, digest=digest) for digest in signed.images)):
        assert verify(tree, tmp_path, named, own.public).returncode == 0
    refused = verify(tree, tmp_path, reference, other.public)
    assert refused.returncode != 0
    assert "invalid signature" in refused.stderr


def verify(tree: Path, folder: Path, reference: Reference, public: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        *find_program(tree, "cosign"),
        "verify",
        "--key",
        str(public),
        "--insecure-ignore-tlog",
        "--allow-http-registry",
        *words,
    ]
    return subprocess.run([*command, str(reference)], capture_output=True, text=True, env={"HOME": str(folder)})
