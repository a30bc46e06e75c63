"""wherry.toml, [tool.wherry] and the bare folder, to a declaration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.declare.projects import HOST, declare, write, write_files
from wherry.declare.defaults import Host, has_apt_sources, normalise_name
from wherry.errors import DeclarationError
from wherry.model.declaration import Bytecode, CodeSelection, Compression, DebianBase, EnvironmentKind, ModelFile, ReferenceBase
from wherry.model.platform import Platform
from wherry.model.reference import Reference

WITHOUT_APT = Host(platform=Platform("linux", "arm64"), has_apt=False)

FULL = """
name = "anomaly"
python = "3.12"
base = "docker.io/library/python:3.12-slim"
platforms = ["linux/amd64", "aarch64", "linux/arm64/v8"]
environment = { file = "pyproject.toml", extras = ["gpu"], groups = ["serve"] }
system-packages = ["libgomp1", "libgl1", "libgomp1"]
code = { include = ["src/", "main.py"], exclude = ["*.ipynb"] }
models = ["models/./model.pkl", { path = "models/big.onnx", optional = true }]
entrypoint = "python -m app --greeting 'good day'"
volumes = ["/data/"]
ports = [8080, "53/udp", "9000"]
bytecode = "cache"
compression = "zstd"
user = 1000
workdir = "/srv/app"
layers-from = ["ghcr.io/you/anomaly:latest"]

[env]
LEVEL = "info"
COUNT = 3

[labels]
"org.example.team" = "sensors"

[debian]
mirror = "https://mirror.example/debian/"

[targets.edge]
engine = "podman"
"""
PYPROJECT = """
[project]
name = "Anomaly_Detector"
requires-python = ">=3.12,<3.13"
dependencies = ["numpy>=2"]
[project.optional-dependencies]
gpu = ["torch ; sys_platform == 'linux'"]
[dependency-groups]
serve = ["flask", {include-group = "base"}]
base = ["gunicorn"]
"""


def refusal(root: Path, text: str) -> str:
    write(root, wherry_toml=text)
    with pytest.raises(DeclarationError) as caught:
        declare(root)
    return str(caught.value)


def test_every_key(tmp_path: Path) -> None:
    found = declare(write(tmp_path, wherry_toml=FULL, pyproject_toml=PYPROJECT))
    assert (found.origin, found.name, found.python) == ("wherry.toml", "anomaly", "3.12")
    assert found.base == ReferenceBase(reference=Reference("docker.io", "library/python", "3.12-slim"))
    assert found.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert [requirement.name for requirement in found.environment.requirements] == ["numpy", "torch", "flask", "gunicorn"]
    assert (found.environment.extras, found.environment.groups) == (("gpu",), ("serve",))
    assert found.system_packages == ("libgomp1", "libgl1")
    assert found.code == CodeSelection(include=("src/", "main.py"), exclude=("*.ipynb",))
    assert found.models == (ModelFile(path="models/model.pkl"), ModelFile(path="models/big.onnx", optional=True))
    assert found.entrypoint == ("python", "-m", "app", "--greeting", "good day")
    assert found.env == (("COUNT", "3"), ("LEVEL", "info"))
    assert found.labels == (("org.example.team", "sensors"),)
    assert (found.volumes, found.ports) == (("/data",), ("8080/tcp", "53/udp", "9000/tcp"))
    assert (found.bytecode, found.compression) == (Bytecode.CACHE, Compression.ZSTD)
    assert (found.user, found.workdir) == ("1000", "/srv/app")
    assert found.debian_mirror == "https://mirror.example/debian"
    assert found.layers_from == ("ghcr.io/you/anomaly:latest",)


def test_a_table_in_pyproject_says_the_same(tmp_path: Path) -> None:
    table = "[tool.wherry]\nname = 'boat'\nentrypoint = ['python', 'x.py']\n[tool.wherry.env]\nA = 'b'\n"
    found = declare(write(tmp_path, pyproject_toml=PYPROJECT + table))
    assert (found.origin, found.name, found.entrypoint, found.env) == (
        "pyproject.toml: tool.wherry",
        "boat",
        ("python", "x.py"),
        (("A", "b"),),
    )


def test_wherry_toml_counts_when_both_are_there(tmp_path: Path) -> None:
    found = declare(write(tmp_path, wherry_toml="name = 'one'", pyproject_toml="[tool.wherry]\nname = 'two'"))
    assert found.name == "one"
    assert "tool.wherry is not read" in found.notes[0]


def test_a_bare_folder(tmp_path: Path) -> None:
    root = write_files(
        tmp_path / "My Model (v2)",
        {
            "requirements.txt": "numpy",
            "main.py": "",
            "models/model.pkl": b"1",
            "models/b.ONNX": b"22",
            "tests/fixture.pkl": b"",
            ".h/x.pkl": b"",
        },
    )
    found = declare(root)
    assert (found.origin, found.name, found.python) == ("the folder", "my-model-v2", "3.11")
    assert found.base == DebianBase(suite="bookworm")
    assert found.platforms == (HOST.platform,)
    assert found.environment.kind is EnvironmentKind.REQUIREMENTS
    assert [model.path for model in found.models] == ["models/b.ONNX", "models/model.pkl"]
    assert found.entrypoint == ("python", "main.py")
    assert found.user == "10001:10001"
    assert found.notes == ()


def test_without_apt_the_default_base_is_a_reference(tmp_path: Path) -> None:
    found = declare(write(tmp_path, requirements_txt=""), WITHOUT_APT)
    assert str(found.base) == str(ReferenceBase(reference=Reference("docker.io", "library/python", "3.11-slim")))
    assert found.python == "3.11"
    assert found.platforms == (Platform("linux", "arm64"),)
    mirrored = declare(write(tmp_path, wherry_toml="[debian]\nmirror = 'https://mirror.example/debian'"), WITHOUT_APT)
    assert mirrored.base == DebianBase(suite="bookworm")


@pytest.mark.parametrize(
    ("files", "base", "python"),
    [
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.12'"}, DebianBase(suite="trixie"), "3.13"),
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.11.4'"}, DebianBase(suite="bookworm"), "3.11"),
        ({"pyproject.toml": "[project]\nrequires-python = 'nonsense'"}, DebianBase(suite="bookworm"), "3.11"),
        ({".python-version": "3.12.4\n"}, ReferenceBase(reference=Reference("docker.io", "library/python", "3.12-slim")), "3.12"),
        ({".python-version": "cpython-3.13\n"}, DebianBase(suite="trixie"), "3.13"),
        ({"wherry.toml": "base = 'debian:trixie'"}, DebianBase(suite="trixie"), "3.13"),
        ({"wherry.toml": "base = 'quay.io/a/b:1'"}, ReferenceBase(reference=Reference("quay.io", "a/b", "1")), None),
        (
            {"wherry.toml": "base = 'python:3.10'"},
            ReferenceBase(reference=Reference("docker.io", "library/python", "3.10")),
            "3.10",
        ),
    ],
)
def test_python_and_base_follow_one_another(
    tmp_path: Path, files: dict[str, str | bytes], base: object, python: str | None
) -> None:
    found = declare(write_files(tmp_path, {"requirements.txt": "", **files}))
    assert (found.base, found.python) == (base, python)


@pytest.mark.parametrize(
    ("files", "entrypoint"),
    [
        (["main.py", "app.py"], ("python", "main.py")),
        (["score.py", "app.py"], ("python", "app.py")),
        (["__main__.py"], ("python", "__main__.py")),
        (["src/boat/__main__.py", "src/boat/__init__.py"], ("python", "-m", "boat")),
        (["boat/__main__.py"], ("python", "-m", "boat")),
        (["a/__main__.py", "b/__main__.py"], ()),
        (["train.ipynb"], ()),
    ],
)
def test_an_entrypoint_is_guessed_by_name(tmp_path: Path, files: list[str], entrypoint: tuple[str, ...]) -> None:
    found = declare(write_files(tmp_path, dict.fromkeys(files, "")))
    assert found.entrypoint == entrypoint
    assert dict(found.env).get("PYTHONPATH") == ("/app/src" if "src/boat/__init__.py" in files else None)


def test_at_most_sixteen_models_are_guessed_the_largest(tmp_path: Path) -> None:
    root = write_files(tmp_path, {f"m{number:02}.pkl": b"x" * number for number in range(20)})
    found = declare(root)
    assert [model.path for model in found.models] == [f"m{number:02}.pkl" for number in range(4, 20)]
    assert any("20 files look like models" in note for note in found.notes)
    assert declare(write(root, wherry_toml="models = []")).models == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nmae = 'x'", "name instead of nmae"),
        ("system_packages = []", "system-packages instead of system_packages"),
        ("zzz = 1", "one of name, python"),
        ("code = { inclde = [] }", "code.include instead of code.inclde"),
        ("models = [{ pth = 'x' }]", "models[0].path instead of models[0].pth"),
        ("debian = { miror = '' }", "debian.mirror"),
        ("platforms = 'linux/amd64'", "wherry.toml: platforms: expected"),
        ("models = ['a', 3]", "wherry.toml: models[1]"),
        ("models = ['../x.pkl']", "leaves the project"),
        ("models = ['/x.pkl']", "not a path"),
        ("models = ['conf/.env']", "secret"),
        ("models = ['.']", "leaves the project"),
        ("models = ['a', './a']", "named twice"),
        ("models = ['m', 'm/a.pkl']", "lies in m"),
        ("name = 'Not A Name'", "cannot be the name"),
        ("python = '3.11.2'", "not a Python version"),
        ("python = 3.11", "expected `str"),
        ("base = 'debian:sid'", "docker.io/library/debian:sid"),
        ("base = 'scratch'", "no Python"),
        ("base = 'Not/A/Reference'", "neither"),
        ("python = '3.12'\nbase = 'debian:bookworm'", "the base brings 3.11"),
        ("platforms = []", "no platform"),
        ("platforms = ['windows/amd64']", "unknown platform"),
        ("environment = true", "names no file"),
        ("environment = 'nowhere.txt'", "no such file"),
        ("environment = { file = 'requirements.txt', extras = ['x'] }", "no extras"),
        ("system-packages = ['Lib Gomp']", "not the name of a Debian package"),
        ("code = { include = ['!x'] }", "not a pattern"),
        ("entrypoint = ''", "empty command"),
        ('entrypoint = "python \'x"', "quotation mark"),
        ("entrypoint = 'a && b'", "no shell"),
        ("env = { 'A=B' = '1' }", "not the name of an environment variable"),
        ("env = { A = true }", "quotation marks"),
        ("volumes = ['data']", "absolute"),
        ("workdir = '/a/../b'", "absolute"),
        ("workdir = '/'", "absolute"),
        ("ports = [0]", "not a port"),
        ("ports = ['80/quic']", "not a port"),
        ("user = 'a b'", "not a user"),
        ("bytecode = 'perhaps'", "wherry.toml: bytecode"),
        ("layers-from = ['Bad Ref']", "layers-from"),
        ("debian = { mirror = 'mirror.example' }", "mirror"),
        ("name = ", "not TOML"),
    ],
)
def test_wrong_values_say_where_and_what(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, requirements_txt="numpy")
    message = refusal(tmp_path, text)
    assert said.replace("`", "") in message
    assert "wherry.toml" in message or "environment" in message or "requirements.txt" in message


def test_condas_python_for_a_project_of_pip(tmp_path: Path) -> None:
    text = 'python = "3.12"\ninterpreter = "conda"\n'
    declaration = declare(write(tmp_path / "a", wherry_toml=text, requirements_txt="numpy\n"))
    assert declaration.environment.kind is EnvironmentKind.REQUIREMENTS
    assert declaration.environment.has_records
    assert declaration.environment.conda is not None
    assert [spec.text for spec in declaration.environment.conda.specs] == ["python 3.12.*"]
    assert declaration.environment.conda.channels == ("conda-forge",)
    assert declaration.base == DebianBase(suite="bookworm")
    with pytest.raises(DeclarationError, match="which Python"):
        declare(write(tmp_path / "b", wherry_toml='interpreter = "conda"\n'))


def test_code_may_be_switched_off(tmp_path: Path) -> None:
    assert declare(write(tmp_path, wherry_toml="code = false")).code == CodeSelection(exclude=("*",))
    assert declare(write(tmp_path, wherry_toml="environment = false")).environment.kind is EnvironmentKind.EMPTY


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="no such folder"):
        declare(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DeclarationError, match="not a folder"):
        declare(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Iris", "iris"), ("Größe 7", "groe-7"), ("__x__", "x"), ("模型", "project"), ("a.b", "a-b")],
)
def test_names_become_image_names(text: str, name: str) -> None:
    assert normalise_name(text) == name


def test_apt_is_configured_when_a_source_names_an_archive(tmp_path: Path) -> None:
    assert not has_apt_sources(tmp_path)
    write_files(tmp_path, {"sources.list": "# deb https://x.example\n"})
    assert not has_apt_sources(tmp_path)
    write_files(tmp_path, {"sources.list.d/debian.sources": "Types: deb\nURIs: https://mirror.example/debian\n"})
    assert has_apt_sources(tmp_path)
