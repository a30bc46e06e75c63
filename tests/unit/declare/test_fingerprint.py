"""The declaration's digest: equal for equal wishes however they are written, another for other wishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.declare.projects import HOST, ONE, TWO, declare, write_files
from wherry.declare.fingerprint import declaration_digest, render_fingerprint

BASE: dict[str, str | bytes] = {
    "requirements.txt": f"numpy==2.1.0 --hash=sha256:{ONE} --hash=sha256:{TWO}\npandas[excel,sql]>=2,<3 ; python_version > '3.9'\n"
    "-c c.txt\n",
    "c.txt": "scipy<2\n",
    "wherry.toml": 'system-packages = ["libgomp1", "libgl1"]\nbytecode = "layer"\n',
}


def digest(root: Path, files: dict[str, str | bytes]) -> str:
    return str(declaration_digest(declare(write_files(root, {**BASE, **files}))))


@pytest.mark.parametrize(
    "files",
    [
        {
            "requirements.txt": b"\xef\xbb\xbf# new comment\r\n--index-url https://me:s3cret@index.example/simple\r\n"
            b"Pandas[SQL, Excel] <3, >=2; python_version>\"3.9\"\r\n--constraint c.txt\r\nNumPy == 2.1.0 \\\r\n"
            + f"  --hash=sha256:{TWO} \\\r\n  --hash=sha256:{ONE}\r\nnumpy==2.1.0 --hash=sha256:{ONE} --hash=sha256:{TWO}".encode()
        },
        {"wherry.toml": 'system-packages = ["libgl1", "libgomp1"]\nname = "other"\nentrypoint = "x"\nenv = { A = "b" }'},
        {"wherry.toml": str(BASE["wherry.toml"]) + 'models = ["m.pkl"]\nlabels = { a = "b" }\nports = [1]\ncompression = "zstd"'},
        {"wherry.toml": str(BASE["wherry.toml"]) + 'platforms = ["linux/arm64"]\nbase = "debian:bookworm"\npython = "3.11"\n'},
        {"main.py": "print()", "model.pkl": b"1"},
    ],
)  # fmt: skip
def test_equal_wishes_have_one_digest(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    assert digest(tmp_path / "a", {}) == digest(tmp_path / "b", files)


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "numpy==2.1.0\npandas[excel,sql]>=2,<3 ; python_version > '3.9'\n-c c.txt\n"},
        {"requirements.txt": str(BASE["requirements.txt"]) + "flask\n"},
        {"requirements.txt": str(BASE["requirements.txt"]) + "--pre\n"},
        {"requirements.txt": str(BASE["requirements.txt"]).replace("3.9", "3.10")},
        {"c.txt": "scipy<3"},
        {"wherry.toml": 'system-packages = ["libgomp1"]'},
        {"wherry.toml": str(BASE["wherry.toml"]) + 'base = "debian:trixie"'},
        {"wherry.toml": 'system-packages = ["libgomp1", "libgl1"]\nbytecode = "cache"'},
        {"wherry.toml": str(BASE["wherry.toml"]) + "environment = false"},
    ],
)
def test_other_wishes_have_another(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    assert digest(tmp_path / "a", {}) != digest(tmp_path / "b", files)


CONDA = "channels: [conda-forge]\ndependencies:\n  - numpy >=2\n  - pandas\n  - pip: [six]\n"


@pytest.mark.parametrize(
    ("text", "equal"),
    [
        (
            "# again\nname: other\nchannels:\n- conda-forge\ndependencies:\n- pip:\n  - six\n- pandas\n- numpy  >=2\n- numpy >=2\n",
            True,
        ),
        (CONDA.replace("pandas", "pandas # comment"), True),
        (CONDA.replace("[conda-forge]", "[conda-forge, bioconda]"), False),
        (CONDA.replace("numpy >=2", "numpy >=2.1"), False),
        (CONDA.replace("pandas", "pandas # [linux64]"), False),
        (CONDA.replace("six", "six<2"), False),
        (CONDA + "channel_priority: flexible\n", False),
        (CONDA.replace("[conda-forge]", "[bioconda, conda-forge]"), False),
    ],
)
def test_conda_environments(tmp_path: Path, text: str, equal: bool) -> None:
    first = declaration_digest(declare(write_files(tmp_path / "a", {"environment.yml": CONDA})))
    assert (declaration_digest(declare(write_files(tmp_path / "b", {"environment.yml": text}))) == first) is equal


def test_the_drivers_version_and_another_tools_lock_count(tmp_path: Path) -> None:
    plain = declare(write_files(tmp_path / "a", {"environment.yml": CONDA}))
    cuda = declare(write_files(tmp_path / "b", {"environment.yml": CONDA, "wherry.toml": 'cuda = "12.4"\n'}))
    assert declaration_digest(plain) != declaration_digest(cuda)
    lines = "@EXPLICIT\r\nhttps://conda.anaconda.org/conda-forge/noarch/six-1.0-0.conda\r\n"
    texts = (lines, lines.replace("\r", ""), lines.replace("1.0", "1.1"))
    found = [
        declaration_digest(declare(write_files(tmp_path / str(n), {"requirements.txt": text.encode()})))
        for n, text in enumerate(texts)
    ]
    assert found[0] == found[1] != found[2]


PROJECT = "[project]\nname = 'boat'\nversion = '1'\ndependencies = ['torch']\n[tool.uv.sources]\ntorch = { index = 'cpu' }\n"
INDEX = "[[tool.uv.index]]\nname = 'cpu'\nurl = 'https://index.example/cpu'\nexplicit = true\n"


def test_a_pyproject_counts_by_what_uv_reads_of_it(tmp_path: Path) -> None:
    def of(name: str, text: str) -> str:
        return str(declaration_digest(declare(write_files(tmp_path / name, {"pyproject.toml": text}))))

    first = of("a", PROJECT + INDEX)
    assert first == of(
        "b", "# comment\n" + PROJECT.replace("'1'", "'2'") + INDEX.replace("index.example", "me:s3cret@mirror.example")
    )
    assert first == of("c", PROJECT + INDEX + "[tool.ruff]\nline-length = 1\n")
    assert first != of("d", PROJECT.replace("cpu", "gpu") + INDEX)
    assert first != of("e", PROJECT + INDEX + "[tool.uv]\nconstraint-dependencies = ['numpy<2']\n")
    assert first != of("f", PROJECT.replace("version", "requires-python = '>=3.11'\nversion") + INDEX)


def test_a_resolved_file_counts_by_its_bytes_whatever_the_line_ends(tmp_path: Path) -> None:
    lock = "version = 1\n[[package]]\nname = 'numpy'\n"

    def of(name: str, files: dict[str, str | bytes]) -> str:
        return str(declaration_digest(declare(write_files(tmp_path / name, {"uv.lock": lock, "pyproject.toml": PROJECT, **files}))))

    first = of("a", {})
    assert first == of("b", {"uv.lock": lock.replace("\n", "\r\n")})
    assert first != of("c", {"uv.lock": lock.replace("numpy", "scipy")})
    assert first != of("d", {"pyproject.toml": PROJECT.replace("'torch'", "'torch', 'flask'")})
    assert first != of("e", {"wherry.toml": "environment = { file = 'uv.lock', groups = ['dev'] }"})


def test_the_document_is_frozen(tmp_path: Path) -> None:
    """Changing this changes every lock in use: raise the document's version and say so in docs/spec/lock.md."""
    found = declare(write_files(tmp_path, BASE), HOST)
    assert render_fingerprint(found) == {
        "version": 1,
        "python": "3.11",
        "base": "debian:bookworm",
        "system-packages": ["libgl1", "libgomp1"],
        "bytecode": "layer",
        "environment": {
            "kind": "requirements.txt",
            "requirements": [
                f"numpy==2.1.0 sha256:{ONE} sha256:{TWO}",
                'pandas[excel,sql]<3,>=2; python_version > "3.9"',
            ],
            "constraints": ["scipy<2"],
            "extras": [],
            "groups": [],
            "pre": False,
        },
    }
    assert str(declaration_digest(found)) == "sha256:1ace4eb3e13056cf9c9a210fb64cc4b5e63344863807dcce782e9442c0256a51"
