"""Signatures in a real registry, held against programs of other makers: cosign, and containers/image as skopeo has it.

Both are Debian trixie's: bookworm has no cosign, and its skopeo was built without these signatures.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.engines.newer_debian import find_program, find_tree
from tests.engines.registry_fixture import RealRegistry, real_registry
from tests.simulators.signing import Pair, make_pair
from tests.unit.store.tiny import put_index
from wherry.check.signatures import judge_signatures
from wherry.formats.in_toto import render_statement
from wherry.formats.signing_keys import parse_private_key, parse_public_key
from wherry.formats.slsa import SLSA
from wherry.model.oci import Descriptor
from wherry.model.reference import Reference
from wherry.model.report import Severity
from wherry.publish.push import plan_push, push_image
from wherry.publish.signatures import ImageStatement, sign_images
from wherry.sources.attached_signatures import read_signed
from wherry.sources.registries import RegistryAccess, access_registries
from wherry.store.disk import DiskStore

__all__ = ["real_registry"]
pytestmark = pytest.mark.engine

PASSWORD = "five random words"
BUNDLE_SIGN = "https://sigstore.dev/cosign/sign/v1"
# cosign's new bundles are verified against roots of trust; a key needs none of them.
NO_ROOTS = '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


@dataclass(frozen=True, kw_only=True)
class Quay:
    """A registry, the foreign programs, and a folder for their files."""

    host: str
    tree: Path
    folder: Path
    access: RegistryAccess

    def push(self, name: str) -> tuple[Reference, list[Descriptor]]:
        """An image of two platforms under a name of its own; its manifests and, last, its index."""
        store = DiskStore(self.folder / "store")
        plan, reference = plan_push(store, put_index(store)), Reference(self.host, f"signed/{name}", "1")
        push_image(self.access, store, plan, reference)
        return reference, [one.descriptor for one in plan.documents]

    def keep(self, name: str, pair: Pair) -> Path:
        (self.folder / f"{name}.pem").write_bytes(pair.pem(PASSWORD))
        public = self.folder / f"{name}.pub"
        public.write_bytes(pair.public_pem)
        return public

    def run(self, program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(self.folder), "COSIGN_PASSWORD": PASSWORD}
        command = [*find_program(self.tree, program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=self.folder, check=False)

    def cosign(self, verb: str, reference: Reference, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("cosign", verb, "--allow-http-registry", *words, str(reference))

    def verify(self, verb: str, reference: Reference, public: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.cosign(verb, reference, "--key", public, "--insecure-ignore-tlog", *words)


@pytest.fixture(scope="module")
def quay(real_registry: RealRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quay]:
    folder = tmp_path_factory.mktemp("quay")
    (folder / "roots.json").write_text(NO_ROOTS)
    access = access_registries({}, cache=folder / "cache")
    yield Quay(host=real_registry.host, tree=find_tree("signing", "cosign", "skopeo"), folder=folder, access=access)
    access.close()


@pytest.fixture(scope="module", params=["p256", "ed25519"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair(request.param)


def copy_trusted(quay: Quay, reference: Reference, public: Path) -> subprocess.CompletedProcess[str]:
    """skopeo takes the image if its policy allows it: signed by this key, found under cosign's tags."""
    rule = {"type": "sigstoreSigned", "keyPath": str(public), "signedIdentity": {"type": "matchRepository"}}
    places = set_policy(quay, rule)
    target = f"dir:{quay.folder}/{reference.repository.replace('/', '-')}"
    return quay.run("skopeo", *places, "copy", "--src-tls-verify=false", "--override-arch=arm64", f"docker://{reference}", target)


def set_policy(quay: Quay, rule: dict[str, object]) -> tuple[str, ...]:
    """skopeo's options for a policy of one rule, and for signatures under tags."""
    lookaside, policy = quay.folder / "registries.d", quay.folder / "policy.json"
    lookaside.mkdir(exist_ok=True)
    (lookaside / "here.yaml").write_text(f"docker:\n  {quay.host}:\n    use-sigstore-attachments: true\n")
    policy.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {quay.host: [rule]}}}))
    return "--policy", str(policy), "--registries.d", str(lookaside)


def digests_of(reference: Reference, images: list[Descriptor]) -> list[Reference]:
    return [replace(reference, tag=None, digest=image.digest) for image in images]


def test_skopeo_takes_what_the_key_signed_and_nothing_else(quay: Quay, pair: Pair) -> None:
    reference, images = quay.push("skopeo")
    public, other = quay.keep("own", pair), quay.keep("other", make_pair())
    sign_images(quay.access, reference, images, (), pair.key)
    done = copy_trusted(quay, reference, public)
    assert done.returncode == 0, done.stderr
    refused = copy_trusted(quay, reference, other)
    assert refused.returncode != 0
    assert "Source image rejected" in refused.stderr


def test_cosign_verifies_the_index_and_each_manifest(quay: Quay, pair: Pair) -> None:
    reference, images = quay.push("cosign")
    public, other = quay.keep("own", pair), quay.keep("other", make_pair())
    assert sign_images(quay.access, reference, images, (), pair.key).added == 3
    assert sign_images(quay.access, reference, images, (), pair.key).added == 0
    for named in (reference, *digests_of(reference, images)):
        done = quay.verify("verify", named, public)
        assert done.returncode == 0, done.stderr
    refused = quay.verify("verify", reference, other)
    assert refused.returncode != 0
    assert "invalid signature" in refused.stderr


@pytest.mark.parametrize("words", [(), ("--new-bundle-format", "--trusted-root", "roots.json")], ids=["tag", "bundle"])
def test_cosign_verifies_attestations(quay: Quay, pair: Pair, words: tuple[str, ...]) -> None:
    reference, images = quay.push("attested")
    public, other = quay.keep("own", pair), quay.keep("other", make_pair())
    statement = render_statement([("tiny", images[0].digest)], SLSA, {"buildDefinition": {}, "runDetails": {}})
    said = ImageStatement(image=images[0], predicate_type=SLSA, statement=statement)
    sign_images(quay.access, reference, images, [said], pair.key)
    named = digests_of(reference, images)[0]
    done = quay.verify("verify-attestation", named, public, "--type", "slsaprovenance1", *words)
    assert done.returncode == 0, done.stderr
    assert quay.verify("verify-attestation", named, other, "--type", "slsaprovenance1", *words).returncode != 0
    if words:
        assert quay.verify("verify-attestation", named, public, "--type", BUNDLE_SIGN, *words).returncode == 0


def test_what_cosign_signed_is_verified(quay: Quay) -> None:
    """In both of its formats, with a key of its own making, and beside a signature of ours."""
    reference, images = quay.push("theirs")
    sign_images(quay.access, reference, images, (), make_pair().key)
    made = quay.run("cosign", "generate-key-pair", "--output-key-prefix", "theirs")
    assert made.returncode == 0, made.stderr
    (quay.folder / "said.json").write_text('{"good":true}')
    index, said = digests_of(reference, images)[-1], ("--predicate", "said.json", "--type", "https://example.com/said")
    for verb, words in (("sign", ()), ("attest", said), ("attest", (*said[:3], "https://example.com/new", "--new-bundle-format"))):
        done = quay.cosign(verb, index, "--yes", "--key", "theirs.key", "--tlog-upload=false", *words)
        assert done.returncode == 0, done.stderr
    key = parse_public_key((quay.folder / "theirs.pub").read_bytes(), "theirs.pub")
    verdict = judge_signatures(read_signed(quay.access, reference), {"theirs": key})
    assert [one.predicate for one in verdict.verified] == [None, "https://example.com/said", "https://example.com/new"]
    assert verdict.report.count(Severity.ERROR) == 0
    stranger = judge_signatures(read_signed(quay.access, reference), {"stranger": make_pair().key.public})
    assert (stranger.verified, stranger.report.count(Severity.ERROR)) == ((), 1)


def test_what_skopeo_signed_is_verified(quay: Quay) -> None:
    """containers/image writes a tag into its payload, and more members than cosign."""
    reference, images = quay.push("before")
    made = quay.run("cosign", "generate-key-pair", "--output-key-prefix", "skopeo")
    assert made.returncode == 0, made.stderr
    (quay.folder / "passphrase").write_text(PASSWORD)
    signed = replace(reference, repository="signed/after")
    places, key = set_policy(quay, {"type": "insecureAcceptAnything"}), quay.folder / "skopeo.key"
    options = ("--sign-by-sigstore-private-key", key, "--sign-passphrase-file", quay.folder / "passphrase", "--all")
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    done = quay.run("skopeo", *places, "copy", *plain, *options, f"docker://{reference}", f"docker://{signed}")
    assert done.returncode == 0, done.stderr
    public = parse_public_key((quay.folder / "skopeo.pub").read_bytes(), "skopeo.pub")
    verdict = judge_signatures(read_signed(quay.access, signed), {"skopeo": public})
    assert {one.manifest.digest for one in verdict.verified} == {image.digest for image in images}
    assert verdict.report.findings == ()


def test_a_key_that_cosign_made(quay: Quay) -> None:
    made = quay.run("cosign", "generate-key-pair", "--output-key-prefix", "own")
    assert made.returncode == 0, made.stderr
    key = parse_private_key((quay.folder / "own.key").read_bytes(), "own.key", lambda: PASSWORD)
    assert key.public.hint == parse_public_key((quay.folder / "own.pub").read_bytes(), "own.pub").hint
    reference, images = quay.push("own")
    sign_images(quay.access, reference, images[:1], (), key)
    done = quay.verify("verify", digests_of(reference, images)[0], quay.folder / "own.pub")
    assert done.returncode == 0, done.stderr
