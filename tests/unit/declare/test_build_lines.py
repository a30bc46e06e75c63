"""Lines that name a source: taken where the author allows a build, refused with the line to write where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.declare.projects import write_files as write
from wherry.declare.build_lines import name_folder
from wherry.declare.fingerprint import declaration_digest
from wherry.declare.project import read_declaration
from wherry.errors import DeclarationError
from wherry.model.declaration import Declaration, EnvironmentKind, SourceOrigin
from wherry.model.lock import BuildKind

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "ab" * 32


def declare(root: Path, allow: str, files: dict[str, str]) -> Declaration:
    write(root, {"wherry.toml": f"allow-build = [{allow}]\n", **files})
    return read_declaration(root, {})


def test_commits_folders_and_archives(tmp_path: Path) -> None:
    lines = f"""
        Mast[x] @ git+https://me:s3cret@git.example/ship.git@{COMMIT}#subdirectory=py ; python_version > "3.8"
        git+file:///srv/git/hull@{COMMIT}#egg=hull
        rope @ https://files.example/rope-1.0.tar.gz#sha256={SHA256}
        ./libs/keel[y]
        -e .
    """
    files = {
        "requirements.txt": "\n".join(line.strip() for line in lines.splitlines()),
        "libs/keel/pyproject.toml": "[project]\nname = 'Keel'\n",
        "setup.cfg": "[metadata]\nname = ship\n",
    }
    found = declare(tmp_path, '"mast", "hull", "rope", "keel", "ship"', files).environment.requirements
    assert [(entry.text, entry.source) for entry in found] == [
        (
            'mast[x] ; python_version > "3.8"',
            SourceOrigin(kind=BuildKind.GIT, url="https://me:s3cret@git.example/ship.git", commit=COMMIT, subfolder="py"),
        ),
        ("hull", SourceOrigin(kind=BuildKind.GIT, url="file:///srv/git/hull", commit=COMMIT)),
        ("rope", SourceOrigin(kind=BuildKind.SDIST, url="https://files.example/rope-1.0.tar.gz")),
        ("keel[y]", SourceOrigin(kind=BuildKind.FOLDER, folder="libs/keel")),
        ("ship", SourceOrigin(kind=BuildKind.FOLDER, folder=".")),
    ]
    assert found[2].hashes == (f"sha256:{SHA256}",)


@pytest.mark.parametrize(
    ("line", "said", "remedy"),
    [
        (f"mast @ git+https://git.example/mast@{COMMIT}", "mast: a commit has to be built", 'allow-build = ["mast"]'),
        ("mast @ git+https://git.example/mast@v1", "mast: version control is not fixed", "name the commit"),
        ("mast @ hg+https://hg.example/mast@1", "mast: version control is not fixed", "mast==1.2.3"),
        ("./libs/keel", "keel: a path is not fixed by a digest", 'allow-build = ["keel"]'),
        ("-e ./libs/keel", "keel: a path is not fixed by a digest", 'allow-build = ["keel"]'),
        ("./libs", "libs: a path is not fixed by a digest, and there is no package there", "libs"),
        ("-e .", ".: the project's own folder is no package", "remove the line"),
        (
            f"https://files.example/rope-1.0.tar.gz#sha256={SHA256}",
            "rope: a source archive has to be built",
            'allow-build = ["rope"]',
        ),
        ("rope @ https://files.example/rope-1.0.tar.gz", "rope: only wheels are taken from a URL", "rope"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_line_to_write(tmp_path: Path, line: str, said: str, remedy: str) -> None:
    files = {"requirements.txt": line, "libs/keel/pyproject.toml": "[project]\nname = 'keel'\n"}
    with pytest.raises(DeclarationError) as caught:
        declare(tmp_path, "", files)
    assert f"requirements.txt:1: {said}" in str(caught.value)
    assert remedy in (caught.value.hint or "") or remedy in said


def test_an_unpinned_branch_is_refused_though_it_may_be_built(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="not fixed by a digest"):
        declare(tmp_path, '"mast"', {"requirements.txt": "mast @ git+https://git.example/mast@main"})


PROJECT = "[project]\nname = 'Ship'\nversion = '1'\ndependencies = ['mast', 'keel']\n"
SOURCES = f"[tool.uv.sources]\nmast = {{ git = 'https://git.example/mast', rev = '{COMMIT}' }}\nkeel = {{ path = 'libs/keel' }}\n"


def test_the_sources_of_a_pyproject(tmp_path: Path) -> None:
    files = {"pyproject.toml": PROJECT + SOURCES, "libs/keel/setup.py": ""}
    found = declare(tmp_path, '"mast", "keel"', files).environment
    assert [(entry.text, entry.source and entry.source.kind) for entry in found.requirements] == [
        ("mast", BuildKind.GIT),
        ("keel", BuildKind.FOLDER),
    ]
    assert found.own is None
    with pytest.raises(DeclarationError, match=r"tool.uv.sources.keel: keel: a path source is not fixed by a digest"):
        declare(tmp_path, '"mast"', files)


def test_the_projects_own_package(tmp_path: Path) -> None:
    found = declare(tmp_path, '"ship"', {"pyproject.toml": PROJECT}).environment
    assert found.own is not None
    assert (found.own.text, found.own.source) == ("ship", SourceOrigin(kind=BuildKind.FOLDER, folder="."))
    assert [entry.name for entry in found.requirements] == ["mast", "keel"]


def test_dynamic_dependencies_are_asked_of_the_own_package(tmp_path: Path) -> None:
    text = "[project]\nname = 'ship'\ndynamic = ['dependencies', 'version']\n[dependency-groups]\nserve = ['rope']\n"
    write(tmp_path, {"wherry.toml": 'allow-build = ["ship"]\n[environment]\nfile = "pyproject.toml"\ngroups = ["serve"]\n'})
    write(tmp_path, {"pyproject.toml": text})
    found = read_declaration(tmp_path, {}).environment
    assert found.kind is EnvironmentKind.REQUIREMENTS
    assert [entry.text for entry in found.requirements] == ["ship", "rope"]


def test_the_digest_knows_sources_but_no_login(tmp_path: Path) -> None:
    line = f"mast @ git+https://{{}}git.example/mast@{COMMIT}"
    texts = (line.format(""), line.format("me:s3cret@"), line.format("").replace("0123", "3210", 1), "mast")
    projects = [declare(tmp_path / str(number), '"mast"', {"requirements.txt": text}) for number, text in enumerate(texts)]
    digests = {declaration_digest(project) for project in projects}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"pyproject.toml": "[project]\nname = 'My.Pkg'\n"}, "my-pkg"),
        ({"pyproject.toml": "[tool.poetry]\nname = 'poem'\n"}, "poem"),
        ({"setup.cfg": "[metadata]\nname = cfg\n", "pyproject.toml": "[build-system]\n"}, "cfg"),
        ({"setup.py": ""}, "the-folder"),
        ({"pyproject.toml": "not toml ["}, "the-folder"),
    ],
)
def test_the_name_of_a_folder(tmp_path: Path, files: dict[str, str], name: str) -> None:
    write(tmp_path / "the folder", files)
    assert name_folder(tmp_path / "the folder") == name
