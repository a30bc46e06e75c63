"""How hosts are reached: proxies, certificates, what a registry may lead to, what its challenges say."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.simulators.registry import RegistrySimulator
from wherry.errors import TransferError, TrustError, UsageError
from wherry.formats.urls import place
from wherry.store.http import discard, is_loopback
from wherry.store.registry import RegistryStore
from wherry.store.registry_auth import Challenge, anonymous, parse_challenges
from wherry.store.registry_http import Patience, Transport, choose_proxy
from wherry.store.registry_session import RegistrySession, show_text

PROXIES = {"HTTPS_PROXY": "http://p.example:3128", "http_proxy": "q.example", "NO_PROXY": "a.example, .b.example:8443,10.0.0.0/8"}
QUICK = Patience(connect=2, stall=2, attempts=2, first_wait=0.001)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://ghcr.example/v2/", "http://p.example:3128"),
        ("http://ghcr.example/v2/", "http://q.example"),
        ("https://a.example/", None),
        ("https://x.a.example/", None),
        ("https://xa.example/", "http://p.example:3128"),
        ("https://b.example:8443/", None),
        ("https://b.example/", "http://p.example:3128"),
        ("https://10.1.2.3/", None),
        ("https://11.1.2.3/", "http://p.example:3128"),
        ("http://localhost:5000/", None),
        ("http://127.0.0.9:5000/", None),
        ("http://[::1]:5000/", None),
    ],
)
def test_proxies(url: str, proxy: str | None) -> None:
    assert choose_proxy(url, PROXIES) == proxy


def test_a_proxy_is_used_and_its_password_is_not_shown() -> None:
    with RegistrySimulator() as proxy:
        env = {"http_proxy": f"http://user:hush%40@{proxy.host}"}
        session = RegistrySession("registry.example", "a/b", Transport(env, patience=QUICK, plain_http=True), anonymous)
        proxy.add_manifest("a/b", b"{}", "", "7")
        assert RegistryStore(session, "a/b").tags() == ("7",)
        assert proxy.seen[0].path.startswith("http://registry.example/v2/")
    session.transport.close()
    with pytest.raises(TransferError) as caught:
        RegistryStore(session, "a/b").tags()
    assert "hush" not in str(caught.value)


def test_a_proxy_of_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="socks5"):
        Transport({"ALL_PROXY": "socks5://p.example"}).exchange("GET", "https://a.example/", {})


@pytest.mark.parametrize(
    ("registry", "plain", "url"),
    [
        ("ghcr.example", False, "https://ghcr.example"),
        ("ghcr.example:5000", True, "http://ghcr.example:5000"),
        ("localhost:5000", False, "http://localhost:5000"),
        ("127.0.0.1:5000", False, "http://127.0.0.1:5000"),
        ("[::1]:5000", False, "http://[::1]:5000"),
        ("localhost:443", False, "https://localhost:443"),
        ("docker.io", False, "https://registry-1.docker.io"),
    ],
)
def test_where_a_registry_lies(registry: str, plain: bool, url: str) -> None:
    assert Transport({}, plain_http=plain).base_url(registry) == url


def test_names_that_only_look_local() -> None:
    assert not any(map(is_loopback, ("localhost.example", "127.0.0.1.example", "0x7f.1", "", "notlocalhost")))


@pytest.mark.parametrize(
    ("origin", "url", "error"),
    [
        ("https://a.example/", "http://a.example/", TrustError),
        ("https://a.example/", "http://127.0.0.1/", TrustError),
        ("http://127.0.0.1/", "http://b.example/", TrustError),
        ("https://a.example/", "file:///etc/passwd", TransferError),
        ("https://a.example/", "https://", TransferError),
        ("https://a.example/", "https://b.example/", None),
    ],
)
def test_where_a_registry_may_lead(origin: str, url: str, error: type[Exception] | None) -> None:
    if error is None:
        Transport({}).check_url(url, origin=origin)
    else:
        with pytest.raises(error):
            Transport({}).check_url(url, origin=origin)


def test_a_redirect_that_never_ends() -> None:
    with RegistrySimulator() as registry:
        digest = registry.add_blob("a/b", b"x")
        registry.behaviour.redirect = registry.url
        with pytest.raises(TransferError, match="redirects"):
            Transport({}, patience=QUICK).exchange("GET", f"{registry.url}/v2/a/b/blobs/{digest}", {})


def test_certificates(tmp_path: Path) -> None:
    require_tool("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    command = ["openssl", "req", "-x509", *curve, "-keyout", str(key), "-out", str(certificate), *subject]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with RegistrySimulator(tls=context) as registry:
        exchange = Transport({"SSL_CERT_FILE": str(certificate)}, patience=QUICK).exchange("GET", f"{registry.url}/v2/", {})
        assert exchange.response.status == 200
        discard(exchange.response)
        with pytest.raises(TrustError, match="certificate is not trusted"):
            Transport({}, patience=QUICK).exchange("GET", f"{registry.url}/v2/", {})
    with pytest.raises(UsageError, match="certificates"):
        Transport({"SSL_CERT_FILE": str(tmp_path / "none")}).exchange("GET", "https://127.0.0.1:1/", {})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Basic realm=x"], (Challenge(scheme="basic", realm="x"),)),
        (
            ['Bearer realm="https://t.example/a?b=c",service="s s",scope="repository:a:pull,push"'],
            (Challenge(scheme="bearer", realm="https://t.example/a?b=c", service="s s", scope="repository:a:pull,push"),),
        ),
        (['Bearer realm="a", Basic realm="b"'], (Challenge(scheme="bearer", realm="a"), Challenge(scheme="basic", realm="b"))),
        (["Negotiate", ""], ()),
        ([r'bearer realm="a\"b"'], (Challenge(scheme="bearer", realm='a"b'),)),
    ],
)
def test_challenges(headers: list[str], expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges(headers) == expected


def test_what_may_be_shown() -> None:
    assert place("https://user:hush@a.example:1/b?signature=hush") == "a.example:1/b"
    assert show_text("a\x1b[31m\r\nb\u202e" + "c" * 999).startswith("a [31m b ccc")
    assert len(show_text("x" * 10_000)) == 301
