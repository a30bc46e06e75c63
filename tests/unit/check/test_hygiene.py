"""What should not lie in an image. The secrets here are made up, and put together so that nobody's scanner finds them."""

from __future__ import annotations

import pytest

from tests.unit.check.trees import SITE, Files, distribution, facts_of, module, system
from wherry.check.doctor import examine_layers
from wherry.formats.oci_json import parse_config, render_config
from wherry.formats.secrets import find_secrets, is_secret_variable
from wherry.formats.tar import EntryKind, TarEntry
from wherry.model.oci import History, ImageConfig
from wherry.model.platform import Platform
from wherry.model.report import Finding, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
AWS = "AK" + "IA" + "ABCDEFGHIJKLMNOP"
KEY = b"-----BEGIN RSA " + b"PRIVATE KEY-----\n" + b"MIIEow" * 12 + b"\n"
TOKENS = {
    "an AWS access key": AWS,
    "a GitHub token": "gh" + "p_" + "a1" * 18,
    "a GitLab token": "glp" + "at-" + "a1" * 10,
    "a Slack token": "xo" + "xb-" + "1234567890-abcdefghij",
    "a Google API key": "AI" + "za" + "a1b2c" * 7,
    "an Azure storage key": "Account" + "Key=" + "a1B2" * 21 + "ab==",
    "an Azure shared access key": "SharedAccess" + "Key=" + "a1B2" * 11 + "=",
    "a shared access signature": "?sv=2024&" + "sig=" + "a1B2" * 11 + "%3D",
    "a PyPI token": "py" + "pi-AgEI" + "a1" * 30,
    "a Hugging Face token": "h" + "f_" + "aB" * 17,
    "a Stripe key": "sk" + "_live_" + "a1" * 12,
    "a login in an address": "https://bob:" + "s3cret1@pypi.corp.test/simple",
}


def config_of(env: tuple[str, ...] = (), user: str = "10001", labels: dict[str, str] | None = None, said: str = "") -> ImageConfig:
    raw = render_config(
        platform=Platform("linux", "amd64"),
        created="2020-01-01T00:00:00Z",
        diff_ids=[],
        env=list(env),
        user=user,
        labels=labels or {},
        history=[History(created_by=said, empty_layer=True)] if said else [],
    )
    return parse_config(raw, where="test")


def examine(*layers: Files, config: ImageConfig | None = None) -> tuple[Finding, ...]:
    report = examine_layers([facts_of(system()), *map(facts_of, layers)], "test", None, config or config_of())
    return report.findings


def brief(findings: tuple[Finding, ...]) -> list[tuple[str, Severity, str]]:
    return [(one.rule, one.severity, one.subject) for one in findings]


@pytest.mark.parametrize("kind", TOKENS)
def test_tokens_are_known_wherever_they_stand(kind: str) -> None:
    token = TOKENS[kind]
    assert find_secrets(f"x = '{token}'\n".encode()) == (kind,)
    for findings in (
        examine({"app/settings.py": f"TOKEN = '{token}'\n".encode()}),
        examine({"etc/app.conf": f"token {token}\n".encode()}),
        examine(config=config_of(env=(f"ANYTHING={token}",))),
        examine(config=config_of(labels={"note": token})),
        examine(config=config_of(said=f"RUN curl -H {token} -o x")),
    ):
        (found,) = findings
        assert (found.rule, found.severity) == ("secret", ERROR)
        assert kind in found.what
        assert token not in f"{found}"


def test_private_keys() -> None:
    (found,) = examine({"app/deploy.txt": KEY})
    assert "a private key" in found.what
    assert brief(examine({"app/id_rsa": b"something else"})) == [("secret-name", WARNING, "id_rsa")]


def test_what_is_no_secret() -> None:
    for text in (
        "https://user:password@host.example/",
        "AccountKey=<key>",
        "https://host.test/a:b@c",
        "sig=abc",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "hf_token = os.environ['HF_TOKEN']",
    ):
        assert find_secrets(text.encode()) == ()


def test_a_secret_that_a_later_layer_removes_is_still_there() -> None:
    (found,) = examine({"app/id": AWS.encode()}, {"app/.wh.id": b""})
    assert (found.rule, found.severity) == ("secret", ERROR)
    assert "a later layer hides it" in found.what
    (replaced,) = examine({"app/id": AWS.encode()}, {"app/id": b"nothing any more"})
    assert "a later layer hides it" in replaced.what


def test_what_packages_bring_is_theirs() -> None:
    files = {"usr/share/doc/x/README": AWS.encode(), f"{SITE}/boto/tests.py": AWS.encode(), "etc/ssl/certs/x.pem": KEY}
    assert examine(files) == ()


@pytest.mark.parametrize("folder", ["app", "usr/src/app", "usr/app", "var/task", "home/me", "root", "opt/ml"])
def test_where_projects_keep_their_code(folder: str) -> None:
    assert brief(examine({f"{folder}/settings.py": AWS.encode()})) == [("secret", ERROR, "settings.py")]


def test_binary_files_are_not_looked_into() -> None:
    assert examine({"app/data.bin": b"\0" + AWS.encode()}) == ()


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASSWORD", "hunter22", True),
        ("API_KEY", "abcd1234", True),
        ("AZURE_STORAGE_CONNECTION_STRING", "Endpoint=x;Key=y", True),
        ("POSTGRES_PASSWORD_FILE", "/run/secrets/x", False),
        ("DB_PASSWORD", "", False),
        ("TOKEN", "/run/secrets/token", False),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D", False),
    ],
)
def test_variables(name: str, value: str, secret: bool) -> None:
    assert is_secret_variable(name, value) is secret
    expected = [("secret-name", WARNING, name)] if secret else []
    assert brief(examine(config=config_of(env=(f"{name}={value}",)))) == expected


@pytest.mark.parametrize(("user", "root"), [("", True), ("0:0", True), ("root", True), ("app", False), ("10001:10001", False)])
def test_who_runs(user: str, root: bool) -> None:
    assert brief(examine(config=config_of(user=user))) == ([("root-user", NOTE, "root")] if root else [])


def test_modes() -> None:
    files = {
        "app/open": TarEntry(path="app/open", mode=0o666, size=0),
        "usr/bin/su": TarEntry(path="usr/bin/su", mode=0o4755, size=0),
        "tmp": TarEntry(path="tmp", kind=EntryKind.DIRECTORY, mode=0o1777),
        "srv": TarEntry(path="srv", kind=EntryKind.DIRECTORY, mode=0o777),
    }
    world, setuid = examine(files)
    assert (world.rule, world.severity, world.where) == ("world-writable", WARNING, ("/app/open", "/srv"))
    assert (setuid.rule, setuid.severity, setuid.where) == ("setuid", NOTE, ("/usr/bin/su",))


def test_left_overs_are_weighed() -> None:
    files = {
        "root/.cache/pip/http/aa": bytes(2_000_000),
        "var/lib/apt/lists/deb.example_Packages": bytes(1_500_000),
        "app/.git/objects/pack/x": bytes(3_000_000),
        "var/cache/apt/archives/small.deb": bytes(100),
    }
    assert brief(examine(files)) == [
        ("left-over", NOTE, "apt's lists"),
        ("left-over", NOTE, "git's history"),
        ("left-over", NOTE, "pip's cache"),
    ]


def test_secrets_beside_what_breaks() -> None:
    broken = distribution("cv", "1", {"cv2/cv2.abi3.so": module("cv2", "libGL.so.1")}, "cp311-abi3-manylinux_2_17_x86_64")
    assert [one.rule for one in examine({**broken, "app/x.py": AWS.encode()})] == ["missing-library", "secret"]
