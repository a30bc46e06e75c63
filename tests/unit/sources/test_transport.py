"""Downloads under bad weather: cuts, stalls, errors, wrong bytes, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulators.python_index import PythonIndex, Wheel, make_wheel
from wherry.errors import TransferError, TrustError
from wherry.formats.urls import strip_credentials
from wherry.model.digest import Digest
from wherry.sources.index_credentials import CredentialBook
from wherry.sources.transport import ATTEMPTS, MissingError, Transport

WHEEL = make_wheel("cargo", "1.0", padding=300_000)


@pytest.fixture
def index():
    with PythonIndex() as simulator:
        simulator.add(WHEEL)
        yield simulator


def open_transport(*urls: str, stall: float = 5.0, offline: bool = False, environment: dict[str, str] | None = None) -> Transport:
    environment = environment or {}
    return Transport(environment, CredentialBook(urls, environment), stall=stall, offline=offline, pause=lambda seconds: None)


def take(index: PythonIndex, folder: Path, wheel: Wheel = WHEEL, transport: Transport | None = None) -> bytes:
    target = folder / "cargo.whl"
    (transport or open_transport()).download(index.file_url(wheel), target, Digest(wheel.sha256), len(wheel.data))
    return target.read_bytes()


def test_a_file_comes_as_it_is(index: PythonIndex, tmp_path: Path) -> None:
    assert take(index, tmp_path) == WHEEL.data


def test_progress_is_told(index: PythonIndex, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    open_transport().download(
        index.file_url(WHEEL), tmp_path / WHEEL.file, Digest(WHEEL.sha256), len(WHEEL.data), lambda *told: heard.append(told)
    )
    assert heard[-1] == (WHEEL.file, len(WHEEL.data), len(WHEEL.data))


@pytest.mark.parametrize("fault", ["429", "500", "502", "503", "504"])
def test_a_busy_server_is_asked_again(index: PythonIndex, tmp_path: Path, fault: str) -> None:
    index.fail(f"/files/{WHEEL.file}", fault, fault)
    assert take(index, tmp_path) == WHEEL.data


def test_a_cut_download_goes_on_where_it_was(index: PythonIndex, tmp_path: Path) -> None:
    index.fail(f"/files/{WHEEL.file}", "cut:100000", "cut:50000")
    assert take(index, tmp_path) == WHEEL.data
    asked = [request[2] for request in index.downloads(WHEEL)]
    assert asked[0] == ""
    assert all(text.startswith("bytes=") for text in asked[1:])


def test_a_server_without_ranges_starts_again(index: PythonIndex, tmp_path: Path) -> None:
    index.ranges = False
    index.fail(f"/files/{WHEEL.file}", "cut:100000")
    assert take(index, tmp_path) == WHEEL.data


def test_a_stalling_server_is_given_up(index: PythonIndex, tmp_path: Path) -> None:
    index.fail(f"/files/{WHEEL.file}", *["stall"] * ATTEMPTS)
    with pytest.raises(TransferError, match="does not answer in time"):
        take(index, tmp_path, transport=open_transport(stall=0.2))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_stays_broken_is_given_up(index: PythonIndex, tmp_path: Path) -> None:
    index.fail(f"/files/{WHEEL.file}", *["500"] * ATTEMPTS)
    with pytest.raises(TransferError, match="answers 500") as caught:
        take(index, tmp_path)
    assert len(index.downloads(WHEEL)) == ATTEMPTS
    assert not isinstance(caught.value, MissingError)


@pytest.mark.parametrize("fault", ["wrong", "short"])
def test_wrong_bytes_are_never_asked_for_again(index: PythonIndex, tmp_path: Path, fault: str) -> None:
    index.fail(f"/files/{WHEEL.file}", fault)
    with pytest.raises(TrustError):
        take(index, tmp_path)
    assert len(index.downloads(WHEEL)) == 1
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_locked_are_not_read(index: PythonIndex, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="more than"):
        open_transport().download(index.file_url(WHEEL), tmp_path / "x", Digest(WHEEL.sha256), 100)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_not_asked_for_again(index: PythonIndex, tmp_path: Path) -> None:
    other = make_wheel("other", "1.0")
    with pytest.raises(MissingError):
        take(index, tmp_path, other)
    assert len(index.requests) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    with PythonIndex() as gone:
        url = gone.file_url(WHEEL)
    with pytest.raises(TransferError, match="cannot be reached"):
        open_transport().download(url, tmp_path / "x", Digest(WHEEL.sha256), len(WHEEL.data))


def test_offline_asks_nobody(index: PythonIndex, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="--offline"):
        take(index, tmp_path, transport=open_transport(offline=True))
    assert index.requests == []


def test_the_size_is_known_without_reading(index: PythonIndex) -> None:
    assert open_transport().size_of(index.file_url(WHEEL)) == len(WHEEL.data)
    assert [request[0] for request in index.requests] == ["HEAD"]


def test_the_size_is_known_where_head_is_refused(index: PythonIndex) -> None:
    index.heads = False
    assert open_transport().size_of(index.file_url(WHEEL)) == len(WHEEL.data)
    assert index.requests[-1][2] == "bytes=0-0"


def test_a_page_has_a_limit(index: PythonIndex) -> None:
    index.extra_pages["/simple/huge/"] = b"x" * 5000
    with pytest.raises(TransferError, match="larger than"):
        open_transport().get_page(f"{index.url}/huge/", accept="text/html", limit=4000)


def test_credentials_go_to_their_own_host_only(tmp_path: Path) -> None:
    with PythonIndex(credentials=("ada", "s3cret")) as private, PythonIndex() as public:
        private.add(WHEEL)
        public.add(WHEEL)
        transport = open_transport(private.url_with_credentials())
        assert take(private, tmp_path, transport=transport) == WHEEL.data
        (tmp_path / "cargo.whl").unlink()
        assert take(public, tmp_path, transport=transport) == WHEEL.data
        assert set(public.authorizations) == {""}


def test_a_redirect_to_another_host_carries_no_credentials(tmp_path: Path) -> None:
    with PythonIndex(credentials=("ada", "s3cret")) as private, PythonIndex() as public:
        public.add(WHEEL)
        private.redirects[f"/files/{WHEEL.file}"] = public.file_url(WHEEL)
        assert take(private, tmp_path, transport=open_transport(private.url_with_credentials())) == WHEEL.data
        assert set(public.authorizations) == {""}


def test_netrc_is_for_https_alone(index: PythonIndex, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password s3cret\n")
    book = CredentialBook((), {"NETRC": str(tmp_path / "netrc")})
    assert book.find("https://127.0.0.1/simple/x") == ("ada", "s3cret")
    assert book.find(index.url) is None


def test_no_message_holds_a_password(tmp_path: Path) -> None:
    with PythonIndex() as gone:
        url = gone.file_url(WHEEL).replace("://", "://ada:s3cret@")
    with pytest.raises(TransferError) as caught:
        open_transport().download(url, tmp_path / "x", Digest(WHEEL.sha256), 1)
    assert "s3cret" not in str(caught.value)
    assert strip_credentials("https://u:p@index.example/a?token=1#x") == "https://index.example/a"


def test_a_proxy_is_used_but_not_for_excepted_hosts(index: PythonIndex, tmp_path: Path) -> None:
    with PythonIndex() as gone:
        proxy = gone.root
    with pytest.raises(TransferError):
        take(index, tmp_path, transport=open_transport(environment={"http_proxy": proxy}))
    assert take(index, tmp_path, transport=open_transport(environment={"HTTP_PROXY": proxy, "no_proxy": "127.0.0.1"})) == WHEEL.data


def test_local_files_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "a b.whl").write_bytes(WHEEL.data)
    transport = open_transport(offline=True)
    url = (tmp_path / "a b.whl").as_uri()
    assert transport.size_of(url) == len(WHEEL.data)
    transport.download(url, tmp_path / "copy", Digest(WHEEL.sha256), len(WHEEL.data))
    assert (tmp_path / "copy").read_bytes() == WHEEL.data
    with pytest.raises(MissingError):
        transport.download((tmp_path / "none").as_uri(), tmp_path / "copy2", Digest(WHEEL.sha256), 1)
