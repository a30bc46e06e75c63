"""The files of the code layer: what enters, what never does, and what is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.declare.projects import declare, write_files
from wherry.declare.code import CodeKind, code_files, find_secrets, list_code, list_tokens
from wherry.errors import DeclarationError
from wherry.model.declaration import CodeSelection

KEY = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n"


def paths(root: Path, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), models: tuple[str, ...] = ()) -> list[str]:
    return [file.path for file in list_code(root, CodeSelection(include=include, exclude=exclude), models)]


def make(root: Path, *names: str, **contents: str) -> Path:
    return write_files(root, {**dict.fromkeys(names, ""), **contents})


def test_everything_but_litter_models_and_secrets(tmp_path: Path) -> None:
    make(
        tmp_path,
        "main.py", "src/a.py", "data/x y.csv", "models/model.pkl", "models/big/w.bin", "models/card.md", "ümlaut.py",
        ".git/config", "src/__pycache__/a.cpython-311.pyc", "old.pyc", ".venv/bin/python", "env/pyvenv.cfg", "env/lib/x.py",
        "conda/conda-meta/history", "wherry.lock", "wherry.lock.sources",
        "wherry.toml", ".wherry/x", ".ipynb_checkpoints/a.ipynb",
        ".env", ".env.local", "sub/.envrc", "id_rsa", "id_rsa.pub", "sub/server.key", "store.P12",
        ".netrc", ".pypirc", ".aws/credentials",
        ".ssh/known_hosts", "environment.py",
    )  # fmt: skip
    assert paths(tmp_path, models=("models/model.pkl", "models/big")) == [
        "data/x y.csv", "environment.py", "id_rsa.pub", "main.py", "models/card.md", "src/a.py", "ümlaut.py",
    ]  # fmt: skip


def test_environment_files_cluster_logins_and_keys_without_a_suffix(tmp_path: Path) -> None:
    make(tmp_path, "prod.env", "kubeconfig", "test.kubeconfig", "secrets.toml", "environment", "api_key.py", "public_key")
    write_files(tmp_path, {"deploy_key": KEY, "github-rsa": KEY})
    assert paths(tmp_path) == ["api_key.py", "environment", "public_key"]


def test_secrets_by_content(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "tls/server.pem": KEY,
            "tls/ca.pem": "-----BEGIN CERTIFICATE-----\n",
            ".npmrc": "//registry.example/:_authToken=abc",
            "sub/.npmrc": "//registry.example/:_authToken=${TOKEN}",
            "gcp-credentials.json": '{"private_key": "x"}',
            "credentials.json": "{}",
            "requirements.txt": "--index-url https://me:s3cret@index.example/simple",
            "requirements-dev.txt": "--index-url https://${USER}:${PASS}@index.example/simple",
            "pip.conf": "[global]\nindex-url = https://token@index.example/simple",
        },
    )
    assert paths(tmp_path) == ["credentials.json", "requirements-dev.txt", "sub/.npmrc", "tls/ca.pem"]
    assert find_secrets(declare(write_files(tmp_path, {"wherry.toml": "environment = false"}))) == (
        ".npmrc", "gcp-credentials.json", "pip.conf", "requirements.txt", "tls/server.pem",
    )  # fmt: skip


def test_tokens_in_code_are_told_and_stay(tmp_path: Path) -> None:
    token = b"ghp_" + b"a1B2" * 9
    (tmp_path / "data.bin").write_bytes(b"\0" + token)
    (tmp_path / "link.py").symlink_to("main.py")
    write_files(tmp_path, {"main.py": f"TOKEN = '{token.decode()}'", "other.py": "TOKEN = os.environ['TOKEN']"})
    assert paths(tmp_path) == ["data.bin", "link.py", "main.py", "other.py"]
    assert list(list_tokens(list_code(tmp_path, CodeSelection(), ()))) == [("main.py", ("a GitHub token",))]


def test_files_of_conda_are_looked_into_for_tokens_of_channels(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "environment.yml": "channels: [conda-forge, 'https://host.example/t/tk-12/team']",
            "environment-gpu.yaml": "channels: [https://host.example/t/${TOKEN}/team, https://host.example/at/team]",
            "conda_dependencies.yml": "channels:\n  - https://me:s3cret@host.example/team\n",
            "explicit-linux-64.txt": "@EXPLICIT\nhttps://host.example/t/tk-12/team/noarch/a-1-0.conda#0123\n",
            "conda-lock.yml": "url: https://conda.anaconda.org/conda-forge/noarch/tzdata-1-0.conda",
            ".condarc": "channel_alias: http://127.0.0.1:8080/t/tk-12/get",
        },
    )
    assert paths(tmp_path) == ["conda-lock.yml", "environment-gpu.yaml"]


@pytest.mark.parametrize("pattern", [".env", "conf/.env", "*.key", "conf/server.pem", "conf/*.pem", ".env.*"])
def test_a_secret_that_is_asked_for_is_an_error(tmp_path: Path, pattern: str) -> None:
    write_files(tmp_path, {"conf/.env": "A=1", "conf/server.pem": KEY, "a.key": "", ".env.prod": "", "main.py": ""})
    with pytest.raises(DeclarationError, match="never enters an image") as caught:
        paths(tmp_path, include=("main.py", pattern))
    assert "include" in str(caught.value)


def test_a_secret_in_a_folder_that_is_asked_for_stays_out(tmp_path: Path) -> None:
    make(tmp_path, "conf/.env", "conf/a.toml")
    assert paths(tmp_path, include=("conf/",)) == ["conf/a.toml"]
    assert paths(tmp_path, include=("**",)) == ["conf/a.toml"]


def test_include_and_exclude(tmp_path: Path) -> None:
    make(tmp_path, "main.py", "src/a.py", "src/deep/b.py", "src/n.ipynb", "lib/c.py", "README.md")
    assert paths(tmp_path, include=("src/", "*.md")) == ["README.md", "src/a.py", "src/deep/b.py", "src/n.ipynb"]
    assert paths(tmp_path, include=("src/**/*.py",)) == ["src/a.py", "src/deep/b.py"]
    assert paths(tmp_path, include=("/main.py",), exclude=("main.py",)) == []
    assert paths(tmp_path, exclude=("*.ipynb", "src/deep")) == ["README.md", "lib/c.py", "main.py", "src/a.py"]
    assert paths(tmp_path, exclude=("*",)) == []


def test_gitignore_with_nested_ones(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a.log", "keep.log", "build/x", "src/build/y", "src/a.tmp", "src/b.tmp",
        "src/deep/c.tmp", "top/only.txt", "sub/top/only.txt",
        **{".gitignore": "*.log\r\n!keep.log\nbuild/\n/top/\n# comment\n\\#odd\n", "src/.gitignore": "*.tmp\n!b.tmp\n", "#odd": ""},
    )  # fmt: skip
    assert paths(tmp_path) == [".gitignore", "keep.log", "src/.gitignore", "src/b.tmp", "sub/top/only.txt"]


def test_a_file_that_include_names_wins_over_gitignore(tmp_path: Path) -> None:
    make(tmp_path, "build/config.json", "build/other.json", "main.py", **{".gitignore": "build/\n"})
    assert paths(tmp_path, include=("main.py", "build/config.json")) == ["build/config.json", "main.py"]
    assert paths(tmp_path, include=("main.py", "build/")) == ["build/config.json", "build/other.json", "main.py"]
    assert paths(tmp_path, include=("main.py", "build/*.json")) == ["main.py"]


def test_dockerignore_replaces_gitignore(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a.log", "sub/a.log", "data/x.csv", "data/keep.csv", "data/deep/keep.csv", "docs/a/b.md", "docs/b.md", "main.py",
        **{".gitignore": "main.py\n", ".dockerignore": "# comment\n*.log\n/data\n!data/keep.csv\n  docs/*/*.md  \n.*ignore\n"},
    )  # fmt: skip
    assert paths(tmp_path) == ["data/keep.csv", "docs/b.md", "main.py", "sub/a.log"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**/*.py", ["a.md", "sub/b.md"]),
        ("*\n!*.md", ["a.md"]),
        ("*\n!**/*.md", ["a.md", "sub/b.md"]),
        ("**\n!sub", ["sub/b.md", "sub/b.py"]),
        ("sub/../a.*", ["sub/b.md", "sub/b.py"]),
        ("?.py\nsu[a-c]", ["a.md"]),
        ("!a.md\n*", []),
        ("./sub/", ["a.md", "a.py"]),
        (".", ["a.md", "a.py", "sub/b.md", "sub/b.py"]),
    ],
)
def test_dockerignore_as_docker_reads_it(tmp_path: Path, text: str, expected: list[str]) -> None:
    make(tmp_path, "a.md", "a.py", "sub/b.md", "sub/b.py", **{".dockerignore": text})
    assert [path for path in paths(tmp_path) if path != ".dockerignore"] == expected


def test_symlinks_inside_stay_symlinks(tmp_path: Path) -> None:
    make(tmp_path, "data/a.csv")
    (tmp_path / "link").symlink_to("data/a.csv")
    (tmp_path / "data/up").symlink_to("../link")
    (tmp_path / "folder").symlink_to("data")
    (tmp_path / "absolute").symlink_to(tmp_path / "data" / "a.csv")
    (tmp_path / "dangling").symlink_to("nowhere")
    found = {file.path: (file.kind, file.link, file.mode) for file in list_code(tmp_path, CodeSelection(), ())}
    assert found.pop("data/a.csv") == (CodeKind.FILE, None, 0o644)
    assert {path: link for path, (_, link, _) in found.items()} == {
        "link": "data/a.csv",
        "data/up": "../link",
        "folder": "data",
        "absolute": "data/a.csv",
        "dangling": "nowhere",
    }
    assert all(kind is CodeKind.SYMLINK for kind, _, _ in found.values())


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "sub/../../outside", "out/x"])
def test_a_symlink_out_of_the_project_is_an_error_that_names_it(tmp_path: Path, target: str) -> None:
    make(tmp_path, "p/main.py", "outside")
    (tmp_path / "p" / "sub").mkdir()
    (tmp_path / "p" / "out").symlink_to("..")
    (tmp_path / "p" / "bad").symlink_to(target)
    with pytest.raises(DeclarationError, match="out of the project") as caught:
        paths(tmp_path / "p", exclude=("/out",))
    assert str(caught.value).startswith("bad:")


def test_modes_are_reduced_to_two(tmp_path: Path) -> None:
    make(tmp_path, "a.sh", "b.py")
    (tmp_path / "a.sh").chmod(0o710)
    (tmp_path / "b.py").chmod(0o666)
    assert [file.mode for file in list_code(tmp_path, CodeSelection(), ())] == [0o755, 0o644]


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/caf\xe9.py", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(DeclarationError, match="not UTF-8") as caught:
        paths(tmp_path)
    assert "caf\\xe9.py" in str(caught.value)


def test_a_very_long_name_is_fine(tmp_path: Path) -> None:
    name = "/".join(["d" * 200] * 5) + "/" + "f" * 250
    make(tmp_path, name)
    assert paths(tmp_path) == [name]


def test_what_is_neither_file_nor_folder_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeclarationError, match="neither a file"):
        paths(tmp_path)
    assert paths(tmp_path, exclude=("pipe",)) == []


def test_unreadable_files_and_folders_are_errors_that_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "closed/x", "main.py")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: not str(path).endswith("main.py"))
        with pytest.raises(DeclarationError, match="Permission denied") as caught:
            paths(tmp_path)
        assert str(caught.value).startswith("main.py: cannot be read")
    scan = os.scandir

    def refuse(path: str) -> object:
        if path.rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DeclarationError) as caught:
        paths(tmp_path)
    assert str(caught.value).startswith("closed: cannot be read: Permission denied")


def test_a_declaration_gives_the_same_files(tmp_path: Path) -> None:
    make(tmp_path, "requirements.txt", "main.py", "model.pkl")
    assert [file.path for file in code_files(declare(tmp_path))] == ["main.py", "requirements.txt"]


def test_the_walk_imports_nothing_heavy() -> None:
    heavy = "msgspec typer rich packaging pathspec urllib3 tomllib json tempfile asyncio"
    program = (
        f"import sys, wherry.declare.code, wherry.declare.model_files\nprint(*sorted(set({heavy!r}.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
