"""environment.yml as people have it: what it gives, and what it says of lines that no other machine could follow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.declare.projects import ONE, declare, write_files
from wherry.declare.conda_file import CondaFile, read_conda_file
from wherry.errors import DeclarationError, WherryError
from wherry.model.declaration import ChannelPriority, CondaRequest, DebianBase, ReferenceBase
from wherry.model.platform import Platform

FULL = f"""\
# made by hand
name: boat
channels:
  - pytorch
  - conda-forge
  - nodefaults
dependencies:
- python=3.11
- pytorch::pytorch=2.5   # the GPU build
- pywin32   # [win]
- gxx_linux-64 # [linux64]
- pip
- pip:
  # pip's own
  - requests>=2
  - "wheelhouse @ https://files.example/wheelhouse-1.0-py3-none-any.whl#sha256={ONE}"
  - -r more.txt
  - uvloop # [linux]
  - colorama # [win]
  - tflite-runtime ; python_version < '3.12'  # [aarch64]
  - --extra-index-url https://index.example/simple
variables:
  LEVEL: 010
  FLAG: yes
  EMPTY:
platforms: [linux-64, linux-aarch64, osx-arm64]
prefix: /home/somebody/miniconda3/envs/boat
"""


def read(root: Path, text: str | bytes, **env: str) -> CondaFile:
    write_files(root, {"environment.yml": text, "more.txt": "pandas==2.2\n"})
    return read_conda_file(root, "environment.yml", env)


def request(found: CondaFile) -> CondaRequest:
    assert found.environment.conda is not None
    return found.environment.conda


def refusal(root: Path, text: str, **env: str) -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        read(root, text, **env)
    return caught.value


def test_everything_a_file_says(tmp_path: Path) -> None:
    found = read(tmp_path, FULL)
    assert request(found).channels == ("pytorch", "conda-forge")
    assert request(found).priority is ChannelPriority.STRICT
    assert [(spec.text, spec.where) for spec in request(found).specs] == [
        ("python=3.11", "environment.yml:8"),
        ("pytorch::pytorch=2.5", "environment.yml:9"),
        ("pywin32", "environment.yml:10"),
        ("gxx_linux-64", "environment.yml:11"),
        ("pip", "environment.yml:12"),
    ]
    assert [spec.subdirs for spec in request(found).specs[2:4]] == [("win-32", "win-64", "win-arm64"), ("linux-64",)]
    assert [(one.text, one.where) for one in found.environment.requirements] == [
        ("requests>=2", "environment.yml:15"),
        (f"wheelhouse @ https://files.example/wheelhouse-1.0-py3-none-any.whl#sha256={ONE}", "environment.yml:16"),
        ("pandas==2.2", "more.txt:1"),
        ("uvloop", "environment.yml:18"),
        ("tflite-runtime ; (python_version < '3.12') and (platform_machine == 'aarch64')", "environment.yml:20"),
    ]
    assert found.environment.files == ("environment.yml", "more.txt")
    assert found.environment.indexes.extra_index_urls == ("https://index.example/simple",)
    assert found.variables == (("EMPTY", ""), ("FLAG", "yes"), ("LEVEL", "010"))
    assert found.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert found.python == "3.11"
    assert request(found).places == (("pytorch", "environment.yml:4"), ("conda-forge", "environment.yml:5"))
    assert found.environment.indexes.places == (("https://index.example/simple", "environment.yml:21"),)
    assert found.notes == (
        "environment.yml:19: colorama is for other systems than Linux and left out",
        "environment.yml:26: images are for Linux, not for osx-arm64",
    )


@pytest.mark.parametrize(
    "data",
    [
        FULL.replace("\n", "\r\n").encode(),
        FULL.encode("utf-8-sig"),
        FULL.encode("utf-16"),
        FULL.replace("\n", "\r").encode(),
        FULL.replace(
            "platforms: [linux-64, linux-aarch64, osx-arm64]", "platforms: [linux-64, linux-aarch64, osx-arm64] #"
        ).encode(),
    ],
)
def test_line_endings_and_marks_change_nothing(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path / "a", data) == read(tmp_path / "b", FULL)


def test_the_declaration_has_its_defaults_from_the_file(tmp_path: Path) -> None:
    write_files(tmp_path, {"environment.yml": FULL, "more.txt": "pandas", "main.py": "", "src/boat/__init__.py": ""})
    found = declare(tmp_path)
    assert (found.python, found.base) == ("3.11", DebianBase(suite="bookworm"))
    assert found.platforms == (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert found.env == (("EMPTY", ""), ("FLAG", "yes"), ("LEVEL", "010"), ("PYTHONPATH", "/app/src"))
    (tmp_path / "wherry.toml").write_text(
        'platforms = ["linux/arm64"]\nenv = { FLAG = "no" }\nbase = "docker.io/library/debian:12-slim"\n'
    )
    found = declare(tmp_path)
    assert found.platforms == (Platform("linux", "arm64"),)
    assert dict(found.env)["FLAG"] == "no"
    assert isinstance(found.base, ReferenceBase)


def test_a_python_written_elsewhere_is_asked_of_conda(tmp_path: Path) -> None:
    write_files(tmp_path, {"environment.yml": "dependencies: [numpy]", "wherry.toml": 'python = "3.13"'})
    found = declare(tmp_path)
    assert found.python == "3.13"
    assert found.environment.conda is not None
    assert [spec.text for spec in found.environment.conda.specs] == ["numpy", "python 3.13.*"]
    (tmp_path / "environment.yml").write_text("dependencies: [python=3.12]")
    with pytest.raises(DeclarationError, match=r"python is 3\.13, but environment\.yml asks for 3\.12"):
        declare(tmp_path)


def test_cuda_of_the_target(tmp_path: Path) -> None:
    write_files(tmp_path, {"environment.yml": "dependencies: [numpy]", "wherry.toml": 'cuda = "12.4"'})
    assert declare(tmp_path).cuda == "12.4"
    (tmp_path / "wherry.toml").write_text('cuda = "cu124"')
    with pytest.raises(DeclarationError, match="not a version of CUDA"):
        declare(tmp_path)


def test_cuda_by_the_version_of_the_driver(tmp_path: Path) -> None:
    write_files(tmp_path, {"environment.yml": "dependencies: [numpy]", "wherry.toml": 'driver = "550.54"'})
    assert declare(tmp_path).cuda == "12.4"
    for text, said in (
        ('driver = "R550"', "no driver"),
        ('driver = "1.2"', "no driver"),
        ('driver = "550.54"\ncuda = "12.4"', "same"),
    ):
        (tmp_path / "wherry.toml").write_text(text)
        with pytest.raises(DeclarationError, match=said):
            declare(tmp_path)


@pytest.mark.parametrize(
    ("channels", "found"),
    [
        ("[conda-forge, conda-forge, bioconda]", ("conda-forge", "bioconda")),
        ("conda-forge", ("conda-forge",)),
        ("[]", ("defaults",)),
        ("[https://me:s3cret@conda.example/t/tk-1/inner/]", ("https://conda.example/inner",)),
        ("['https://${WHO}:${PASS}@conda.example/inner']", ("https://conda.example/inner",)),
        (
            "['https://conda.anaconda.org/conda-forge/label/dev', 'file:///srv/channel/']",
            ("conda-forge/label/dev", "file:///srv/channel"),
        ),
        ("['$TEAM']", ("boats",)),
    ],
)
def test_channels(tmp_path: Path, channels: str, found: tuple[str, ...]) -> None:
    read_file = read(tmp_path, f"channels: {channels}\ndependencies: [x]\n", TEAM="boats", WHO="me", PASS="s3cret")
    assert request(read_file).channels == found
    assert any("login" in note for note in read_file.notes) == ("@" in channels)
    assert "s3cret" not in repr(read_file)


@pytest.mark.parametrize(
    ("text", "priority"),
    [("strict", ChannelPriority.STRICT), ("flexible", ChannelPriority.FLEXIBLE), ("false", ChannelPriority.DISABLED)],
)
def test_priority_of_channels(tmp_path: Path, text: str, priority: ChannelPriority) -> None:
    assert request(read(tmp_path, f"channel_priority: {text}\ndependencies: [x]\n")).priority is priority


def test_repetitions(tmp_path: Path) -> None:
    found = read(tmp_path, "dependencies:\n- &n numpy\n- pip:\n  - a\n- scipy\n- pip:\n  - b\n- pip: c\n- pip:\n-\n- *n\n")
    assert [spec.text for spec in request(found).specs] == ["numpy", "scipy"]
    assert [one.text for one in found.environment.requirements] == ["a", "b", "c"]
    assert "environment.yml:10: an empty entry" in found.notes


@pytest.mark.parametrize(
    ("text", "line", "said", "hint"),
    [
        ("dependencies:\n- numpy\n\t- x\n", 3, "not YAML", "spaces"),
        ("dependencies:\n - numpy: 1.2\n", 2, "numpy: only pip:", "- numpy=VERSION"),
        ("dependencies:\n - [a, b]\n", 2, "a list inside", "one entry a line"),
        ("dependencies:\n   numpy: 1\n", 2, "not a list", "dash"),
        ("dependencies:\n - numpy=\n", 2, "not a package", "numpy=1.26"),
        ("dependencies:\n - pip:\n   - {a: b}\n", 3, "not a requirement", "quotation marks"),
        ("dependencies:\n - pip:\n   - -r https://me:s3cret@h.example/r.txt [--no-deps]\n", 3, "on the network", "save it"),
        ("dependencies:\n - pip:\n   - -r gone.txt\n", 3, "no such file", None),
        ("dependencies:\n - pip:\n   - 'numpy = 1'\n", 3, "not a requirement", "name==1.2.3"),
        ("dependencies: [x]\nchannels: [[y]]\n", 2, "not a channel", "conda-forge"),
        ("dependencies: [x]\nchannels: ['a b']\n", 2, "neither the name nor the address", "conda-forge"),
        ("dependencies: [x]\nchannels: [./mine]\n", 2, "neither the name nor the address", "file:///"),
        ("dependencies: [x]\nchannels:\n- nodefaults\n", 3, "no channel besides", "conda-forge"),
        ("dependencies: [x]\nchannels: ['C:\\channel']\n", 2, "neither the name nor the address", "file:///"),
        ("dependencies: [x]\nchannels: ['\\\\server\\share']\n", 2, "neither the name nor the address", "file:///"),
        ('dependencies: [x]\nchannels: ["a\\e[31mb"]\n', 2, "neither the name nor the address", "file:///"),
        ("dependencies:\n - pip:\n   - python==3.11\n", 3, "not pip's to install", "above `- pip:`"),
        ("dependencies: [x]\nchannels: ['https://h.example/${GONE}']\n", 2, "GONE", "export GONE"),
        ("dependencies: [x]\nplatforms: [linux]\n", 2, "not a platform", "linux-aarch64"),
        ("dependencies: [x]\nvariables: [A]\n", 2, "not a mapping", "NAME: value"),
        ("dependencies: [x]\nvariables: {A-B: 1}\n", 2, "not the name", "NAME: value"),
        ("dependencies: [x]\nvariables:\n  A:\n  - 1\n", 4, "not a text", "NAME: value"),
        ('dependencies: [x]\nvariables: {A: "1\\0"}\n', 2, "a zero byte", "NAME: value"),
        ("dependencies: [x]\nchannel_priority: best\n", 2, "not a priority", "strict"),
        ("dependencies: [python=3.5.2]\n", 1, "Python 3.5 went out of support", "python>=3.8"),
        ("# x\nchanels: [y]\n", 2, "none of its keys", "dependencies:"),
        ("name: x\ndependancies: [y]\n", 2, "unknown key 'dependancies'", "dependencies"),
        ("- numpy\n", 1, "a list or a text", "dependencies:"),
        ("dependencies: [x]\ndependencies: [y]\n", 2, "stands twice", "join"),
    ],
)
def test_refusals_have_file_line_and_remedy(tmp_path: Path, text: str, line: int, said: str, hint: str | None) -> None:
    error = refusal(tmp_path, text)
    assert error.where == f"environment.yml:{line}"
    assert said in error.what
    assert hint is None or hint in (error.hint or "")
    assert "s3cret" not in str(error)


def test_an_unknown_key_is_a_note(tmp_path: Path) -> None:
    assert read(tmp_path, "dependencies: [x]\nuser: me\n").notes[-1:] != ()
    assert "environment.yml:2: user is not followed" in read(tmp_path, "dependencies: [x]\nuser: me\n").notes


def test_without_pyyaml_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "wherry[conda]" in (refusal(tmp_path, "dependencies: [x]").hint or "")
    write_files(tmp_path, {"requirements.txt": f"numpy==1 --hash=sha256:{ONE}"})
    assert declare(tmp_path).environment.requirements[0].name == "numpy"


def test_every_cut_is_read_or_refused(tmp_path: Path) -> None:
    crashed = []
    for end in range(0, len(FULL), 3):
        try:
            read(tmp_path, FULL[:end])
        except WherryError:
            continue
        except Exception as error:  # noqa: BLE001
            crashed.append((end, error))
    assert not crashed


def test_the_real_files(tmp_path: Path, shared_data: Path) -> None:
    """Each is read, or refused with file, line and remedy."""
    files = sorted([*(shared_data / "env" / "environment").iterdir(), *(shared_data / "env" / "conda_dependencies").iterdir()])
    refused = {}
    for file in files:
        try:
            read_conda_file(file.parent, file.name, {})
        except DeclarationError as error:
            refused[file.name] = str(error)
    assert len(files) - len(refused) == 9
    assert all(f"{name}:" in text and "try: " in text for name, text in refused.items())
