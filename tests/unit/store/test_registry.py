"""The registry client against a registry that does wrong on purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.simulators.registry import IDENTITY, PASSWORD, USER, Behaviour, RegistrySimulator
from tests.unit.store.contract import BlobStoreContract
from wherry.errors import FormatError, StoreError, TransferError, TrustError
from wherry.formats.oci_json import render_index
from wherry.model.digest import Digest
from wherry.model.oci import INDEX, MANIFEST, Descriptor
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.store.parallel import run_jobs
from wherry.store.port import BlobStore
from wherry.store.registry import RegistryStore
from wherry.store.registry_auth import Credential, Login
from wherry.store.registry_http import Patience, Transport
from wherry.store.registry_session import RegistrySession
from wherry.store.registry_upload import Upload, UploadRules

QUICK = Patience(connect=2, stall=0.4, attempts=4, first_wait=0.001, longest_wait=0.05)
DATA = bytes(range(256)) * 1200
DIGEST = Digest.of(DATA)
CAPTAIN = Credential(user=USER, password=PASSWORD)


@pytest.fixture
def registry() -> Iterator[RegistrySimulator]:
    with RegistrySimulator() as simulator:
        yield simulator


def connect(
    registry: RegistrySimulator,
    credential: Credential | None = None,
    rules: UploadRules | None = None,
    repository: str = "team/model",
) -> RegistryStore:
    login = Login(credential=credential, notes=("a note",))
    session = RegistrySession(registry.host, repository, Transport({}, patience=QUICK), lambda *_: login)
    return RegistryStore(session, repository, push=True, rules=rules or UploadRules())


def upload(data: bytes = DATA) -> Upload:
    return Upload(digest=Digest.of(data), size=len(data), open=lambda: BytesIO(data), report=lambda sent: None)


class TestContract(BlobStoreContract):
    @pytest.fixture(autouse=True)
    def simulate(self, registry: RegistrySimulator) -> None:
        self.registry = registry

    def new_store(self, place: Path) -> BlobStore:
        return connect(self.registry)


class TestContractWithToken(TestContract):
    def new_store(self, place: Path) -> BlobStore:
        self.registry.behaviour.bearer = True
        return connect(self.registry, CAPTAIN)


# -- reading


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(registry: RegistrySimulator, ranges: bool) -> None:
    registry.add_blob("team/model", DATA)
    registry.behaviour = Behaviour(cut_after=100_000, cuts=2, ranges=ranges)
    with connect(registry).open_sized(DIGEST, len(DATA)) as file:
        assert file.read() == DATA
    assert registry.count("GET", "/blobs/") == 3
    if ranges:
        assert registry.bytes_out == len(DATA)


def test_a_stall_ends_in_an_error_that_may_be_retried(registry: RegistrySimulator) -> None:
    registry.add_blob("team/model", DATA)
    registry.behaviour.stall = 20
    registry.behaviour.ranges = False
    with connect(registry).open(DIGEST) as file, pytest.raises(TransferError, match="stalled"):
        file.read()


@pytest.mark.parametrize("behaviour", [Behaviour(wrong_bytes=True), Behaviour(longer_bytes=1)], ids=["changed", "longer"])
def test_wrong_bytes_are_never_asked_for_again(registry: RegistrySimulator, behaviour: Behaviour) -> None:
    registry.add_blob("team/model", DATA)
    registry.behaviour = behaviour
    with pytest.raises(TrustError), connect(registry).open_sized(DIGEST, len(DATA)) as file:
        file.read()
    assert registry.count("GET", "/blobs/") == 1


def test_a_manifest_with_wrong_bytes(registry: RegistrySimulator) -> None:
    raw = render_index([])
    registry.add_manifest("team/model", raw, INDEX, "1")
    registry.behaviour.wrong_bytes = True
    for name in ("1", Digest.of(raw)):
        with pytest.raises(TrustError):
            connect(registry).read_manifest(name)


def test_lying_media_types_do_not_matter(registry: RegistrySimulator) -> None:
    raw = render_index([])
    registry.add_manifest("team/model", raw, INDEX, "1")
    registry.behaviour.manifest_type = "text/html; charset=utf-8"
    descriptor, got = connect(registry).read_manifest("1")
    assert (descriptor.media_type, got) == (INDEX, raw)


def test_a_manifest_above_the_limit_is_neither_read_nor_sent(registry: RegistrySimulator) -> None:
    raw = b'{"schemaVersion":2,"manifests":[]' + b" " * (4 << 20) + b"}"
    registry.add_manifest("team/model", raw, INDEX, "1")
    with pytest.raises(TransferError, match="more than"):
        connect(registry).read_manifest("1")
    with pytest.raises(FormatError):
        connect(registry).put_manifest(raw, INDEX, "2")


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b'{"schemaVersion": 1, "signatures": []}', b'{"schemaVersion":2}'])
def test_what_is_no_manifest(registry: RegistrySimulator, raw: bytes) -> None:
    registry.add_manifest("team/model", raw, MANIFEST, "1")
    with pytest.raises(FormatError):
        connect(registry).read_manifest("1")


def test_no_such_image(registry: RegistrySimulator) -> None:
    with pytest.raises(StoreError, match="no image"):
        connect(registry).resolve(Reference(registry.host, "team/model", "9"))


def test_resolves_a_platform_and_says_which_there_are(registry: RegistrySimulator) -> None:
    inner = render_index([])
    registry.add_manifest("team/model", inner, INDEX)
    arm = Platform("linux", "arm64")
    raw = render_index([Descriptor(media_type=INDEX, digest=Digest.of(inner), size=len(inner), platform=arm)])
    registry.add_manifest("team/model", raw, INDEX, "latest")
    store = connect(registry)
    assert store.resolve(Reference(registry.host, "team/model"), arm)[1] == inner
    with pytest.raises(StoreError, match="linux/arm64"):
        store.resolve(Reference(registry.host, "team/model"), Platform("linux", "amd64"))


@pytest.mark.parametrize("page", [0, 3])
def test_tags_in_pages(registry: RegistrySimulator, page: int) -> None:
    for number in range(10):
        registry.add_manifest("team/model", render_index([]), INDEX, str(number))
    registry.behaviour.page = page
    assert sorted(connect(registry).tags()) == [str(number) for number in range(10)]
    assert connect(registry, repository="team/none").tags() == ()


# -- refusals


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_refusal_is_tried_again(registry: RegistrySimulator, status: int) -> None:
    registry.add_blob("team/model", DATA)
    registry.fail(status, times=2, headers={"Retry-After": "0"})
    assert connect(registry).has(DIGEST)
    assert registry.count("HEAD") == 3


def test_a_lasting_refusal_is_shown_sanitised(registry: RegistrySimulator) -> None:
    words = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow \\u001b[31mdown\\n' + b"x" * 5000 + b'"}]}'
    registry.fail(500, times=99, body=words)
    with pytest.raises(TransferError) as caught:
        connect(registry).tags()
    assert "slow [31mdown x" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable() or "\x1b" not in str(caught.value)
    assert registry.count("GET") == QUICK.attempts


def test_a_long_retry_after_is_not_waited_for(registry: RegistrySimulator) -> None:
    registry.fail(429, times=99, headers={"Retry-After": "3600"})
    with pytest.raises(TransferError, match="again in 3600 s"):
        connect(registry).tags()
    assert registry.count("GET") == 1


def test_no_registry_at_all() -> None:
    with RegistrySimulator() as gone:
        pass
    with pytest.raises(TransferError, match="refused"):
        connect(gone).tags()


# -- logins


@pytest.mark.parametrize("behaviour", [Behaviour(basic=True), Behaviour(bearer=True)], ids=["basic", "bearer"])
def test_a_login(registry: RegistrySimulator, behaviour: Behaviour) -> None:
    registry.behaviour = behaviour
    store = connect(registry, CAPTAIN)
    store.put((DATA,), DIGEST, len(DATA))
    with store.open(DIGEST) as file:
        assert file.read() == DATA
    assert sum(one.status == 401 for one in registry.seen) == 1


@pytest.mark.parametrize("behaviour", [Behaviour(basic=True), Behaviour(bearer=True)], ids=["basic", "bearer"])
@pytest.mark.parametrize("credential", [None, Credential(user="pirate", password="hush-hush")], ids=["nobody", "pirate"])
def test_no_login(registry: RegistrySimulator, behaviour: Behaviour, credential: Credential | None) -> None:
    registry.behaviour = behaviour
    with pytest.raises(TransferError) as caught:
        connect(registry, credential).tags()
    assert f"docker login {registry.host}" in str(caught.value)
    assert "podman login" in str(caught.value)
    assert "a note" in str(caught.value)
    assert "hush-hush" not in str(caught.value) + repr(credential)


def test_an_identity_token(registry: RegistrySimulator) -> None:
    registry.behaviour.bearer = True
    store = connect(registry, Credential(identity_token=IDENTITY))
    store.put((DATA,), DIGEST, len(DATA))
    assert registry.count("POST", "/token") == 1


def test_tokens_for_anybody(registry: RegistrySimulator) -> None:
    registry.behaviour = Behaviour(bearer=True, anonymous_pull=True)
    registry.add_blob("team/model", DATA)
    session = RegistrySession(registry.host, "team/model", Transport({}, patience=QUICK), lambda *_: Login())
    assert RegistryStore(session, "team/model").has(DIGEST)


def test_a_token_that_runs_out_is_fetched_again(registry: RegistrySimulator) -> None:
    registry.behaviour.bearer = True
    store = connect(registry, CAPTAIN)
    assert not store.has(DIGEST)
    registry.tokens.clear()
    assert not store.has(DIGEST)
    assert registry.count("GET", "/token") == 2


def test_no_credential_follows_a_redirect_to_another_host(registry: RegistrySimulator) -> None:
    registry.behaviour.basic = True
    registry.add_blob("team/model", DATA)
    with RegistrySimulator() as storage:
        storage.add_blob("team/model", DATA)
        registry.behaviour.redirect = storage.url
        with connect(registry, CAPTAIN).open(DIGEST) as file:
            assert file.read() == DATA
        assert [one.authorization for one in storage.seen] == [""]
        storage.behaviour.basic = True
        with pytest.raises(TransferError) as caught:
            connect(registry, CAPTAIN).open(DIGEST)
        assert all(one.authorization == "" for one in storage.seen)
        assert "signature" not in str(caught.value)


def test_a_token_server_without_tls_elsewhere_is_refused(registry: RegistrySimulator) -> None:
    registry.behaviour = Behaviour(bearer=True, realm="http://elsewhere.example/token")
    with pytest.raises(TrustError, match="plain http"):
        connect(registry, CAPTAIN).tags()


# -- writing


def test_a_cut_upload_starts_again(registry: RegistrySimulator) -> None:
    registry.behaviour = Behaviour(cut_upload_after=100_000, cuts=2)
    connect(registry).upload(upload())
    assert registry.repository("team/model").blobs[str(DIGEST)] == DATA


def test_a_cut_upload_in_pieces_goes_on_where_the_registry_says(registry: RegistrySimulator) -> None:
    registry.behaviour = Behaviour(cut_upload_after=100_000, cuts=1)
    connect(registry, rules=UploadRules(chunked_above=1, chunk=200_000)).upload(upload())
    assert registry.repository("team/model").blobs[str(DIGEST)] == DATA
    assert registry.bytes_in <= len(DATA) + 70_000
    assert registry.count("PUT") == 1


@pytest.mark.parametrize("behaviour", [Behaviour(patch=False), Behaviour(tells_offset=False, cut_upload_after=100_000, cuts=1)])
def test_registries_that_do_not_do_pieces_well(registry: RegistrySimulator, behaviour: Behaviour) -> None:
    registry.behaviour = behaviour
    connect(registry, rules=UploadRules(chunked_above=1, chunk=200_000)).upload(upload())
    assert registry.repository("team/model").blobs[str(DIGEST)] == DATA


@pytest.mark.parametrize("chunk", [10, 65_536, 131_072, 200_000, 307_200, 10**9])
def test_pieces_of_any_size(registry: RegistrySimulator, chunk: int) -> None:
    data = DATA if chunk > 1000 else DATA[:95]
    connect(registry, rules=UploadRules(chunked_above=1, chunk=chunk)).upload(upload(data))
    assert registry.repository("team/model").blobs[str(Digest.of(data))] == data


@pytest.mark.parametrize("rules", [UploadRules(), UploadRules(chunked_above=1, chunk=100_000)], ids=["one", "pieces"])
def test_a_damaged_blob_is_never_finished(registry: RegistrySimulator, rules: UploadRules) -> None:
    damaged = Upload(digest=DIGEST, size=len(DATA), open=lambda: BytesIO(b"x" + DATA[1:]), report=lambda sent: None)
    with pytest.raises(TrustError):
        connect(registry, rules=rules).upload(damaged)
    assert not registry.repository("team/model").blobs


def test_a_refused_upload_is_tried_again(registry: RegistrySimulator) -> None:
    registry.fail(503, method="PUT")
    connect(registry).upload(upload())
    assert registry.count("PUT") == 2


INVALID = b'{"errors":[{"code":"DIGEST_INVALID"}]}'


@pytest.mark.parametrize("there", [False, True])
def test_a_registry_that_mistakes_our_bytes_once(registry: RegistrySimulator, there: bool) -> None:
    if there:
        registry.add_blob("team/model", DATA)
    registry.fail(400, method="PUT", body=INVALID)
    connect(registry).upload(upload())
    assert registry.count("PUT") == (1 if there else 2)


def test_a_registry_that_gets_other_bytes(registry: RegistrySimulator) -> None:
    registry.fail(400, method="PUT", body=INVALID, times=99)
    with pytest.raises(TrustError, match="got other bytes"):
        connect(registry).upload(upload())
    assert registry.count("PUT") == 3


@pytest.mark.parametrize("bearer", [False, True])
def test_mounting(registry: RegistrySimulator, bearer: bool) -> None:
    registry.add_blob("team/base", DATA)
    registry.behaviour.bearer = bearer
    store = connect(registry, CAPTAIN)
    assert store.mount(DIGEST, "team/base")
    assert store.has(DIGEST)
    assert not store.mount(DIGEST, "team/none")
    registry.behaviour.mount = False
    assert not connect(registry, CAPTAIN, repository="team/other").mount(DIGEST, "team/base")
    if bearer:
        registry.behaviour.grants_mount_scope = False
        assert not connect(registry, CAPTAIN, repository="team/third").mount(DIGEST, "team/base")
    assert not registry.uploads


def test_a_tag_that_must_be_new(registry: RegistrySimulator) -> None:
    store, first, second = connect(registry), render_index([]), render_index([], {"a": "b"})
    assert store.put_manifest(first, INDEX, "1", only_new=True)
    assert store.put_manifest(second, INDEX, "1", only_new=True)
    registry.behaviour.conditional_tags = True
    assert not store.put_manifest(first, INDEX, "1", only_new=True)
    registry.behaviour = Behaviour(immutable_tags=True)
    assert not store.put_manifest(first, INDEX, "1", only_new=True)
    assert store.put_manifest(first, INDEX, "2", only_new=True)


# -- several at once


def test_the_first_failure_stops_the_others() -> None:
    stop, started = threading.Event(), threading.Event()

    def fail() -> None:
        started.wait(5)
        raise TransferError("broken")

    def wait() -> None:
        started.set()
        assert stop.wait(10)

    with pytest.raises(TransferError, match="broken"):
        run_jobs([wait, fail, *[lambda: pytest.fail("not stopped")] * 5], 2, stop)


def test_all_jobs_are_done() -> None:
    done: list[int] = []
    run_jobs([lambda number=number: done.append(number) for number in range(20)], 3, threading.Event())  # type: ignore[misc]
    assert sorted(done) == list(range(20))
    run_jobs([], 3, threading.Event())
