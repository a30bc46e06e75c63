"""Azure ML folders: what is carried over, what is named instead, and that no credential comes along."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.declare.projects import write_files
from wherry.declare.azure_draft import AzureDraft, read_azure_folder
from wherry.declare.azure_ml import read_azure_run, read_azure_target
from wherry.errors import DeclarationError, WherryError
from wherry.model.declaration import ReferenceBase

WORKBENCH = """\
ArgumentVector:
  - "$file"
Target: "docker"
EnvironmentVariables:
  "LEVEL": "3"
  "STORAGE_KEY": "s3cret"
  "PLACE": "https://me:s3cret@store.example/x"
Framework: "Python"
CondaDependenciesFile: "aml_config/conda_dependencies.yml"
SparkDependenciesFile: "aml_config/spark_dependencies.yml"
PrepareEnvironment: true
"""
SDK = """\
script: train.py
arguments: [--epochs, 3]
target: local
framework: PySpark
environment:
  environmentVariables: {LEVEL: 4}
  python:
    userManagedDependencies: false
    condaDependenciesFile: aml_config/conda_dependencies.yml
  docker:
    enabled: true
    baseImage: team/boat:1
    sharedVolumes: true
    gpuSupport: true
    baseImageRegistry: {address: registry.example, username: s3cret-me, password: s3cret}
  spark:
    packages: [{group: com.example, artifact: fleet_2.11, version: 0.9}]
spark: {configuration: {spark.app.name: x}}
hdi: {yarnDeployMode: cluster}
batchai: {nodeCount: 1}
"""
DOCKER = (
    'type: localdocker\r\nbaseDockerImage: "team/boat:2"\r\nsharedVolumes: true\r\nnativeSharedDirectory: "~/.azureml/share/"\r\n'
)
REMOTE = "type: remotedocker\naddress: https://me:s3cret@gpu.example\nusername: s3cret-me\npassword: s3cret\nnvidiaDocker: true\n"
CLUSTER = "type: cluster\naddress: hdi.example\n"
CONDA = "channels: [conda-forge]\ndependencies:\n- python=3.11\n- pip:\n  - requests\n"


def folder(root: Path, **files: str) -> Path:
    named = {f"aml_config/{name.replace('__', '.')}": text for name, text in files.items()}
    return write_files(root, {"train.py": "", "aml_config/conda_dependencies.yml": CONDA, **named})


def said(draft: AzureDraft) -> dict[str, str]:
    return {one.what: one.fate.value for one in draft.carried}


def test_a_workbench_folder(tmp_path: Path) -> None:
    root = folder(
        tmp_path, docker__runconfig=WORKBENCH, local__runconfig="Target: local\n", docker__compute=DOCKER, far__compute=REMOTE
    )
    draft = read_azure_folder(root, root / "aml_config", {})
    assert isinstance(draft.written.base, ReferenceBase)
    assert str(draft.written.base.reference) == "docker.io/team/boat:2"
    assert draft.written.env == (("AZUREML_NATIVE_SHARE_DIRECTORY", "/azureml-share"), ("LEVEL", "3"))
    assert (draft.written.volumes, draft.written.entrypoint) == (("/azureml-share",), None)
    assert draft.conda == "aml_config/conda_dependencies.yml"
    assert [(target.name, target.address, target.gpu) for target in draft.targets] == [
        ("docker", None, False),
        ("far", "https://gpu.example", True),
    ]
    assert said(draft) == {
        "base image team/boat:2": "kept",
        "dependencies aml_config/conda_dependencies.yml": "kept",
        "variable LEVEL": "kept",
        "shared folder ~/.azureml/share/": "changed",
        "target docker (localdocker)": "kept",
        "target far (remotedocker)": "kept",
        "STORAGE_KEY of docker.runconfig": "impossible",
        "PLACE of docker.runconfig": "impossible",
        "username of far.compute": "impossible",
        "password of far.compute": "impossible",
        "local.runconfig": "changed",
    }
    assert "s3cret" not in repr(draft)


def test_a_later_runconfig_by_its_name(tmp_path: Path) -> None:
    root = folder(tmp_path, docker__runconfig=WORKBENCH, train__runconfig=SDK, hdi__compute=CLUSTER)
    draft = read_azure_folder(root, root / "aml_config" / "train.runconfig", {})
    assert (
        str(draft.written.base.reference if isinstance(draft.written.base, ReferenceBase) else "") == "registry.example/team/boat:1"
    )
    assert draft.written.entrypoint == ("python", "train.py", "--epochs", "3")
    told = said(draft)
    for what in (
        "Spark (PySpark): com.example:fleet_2.11:0.9, its configuration",
        "HDInsight",
        "Batch AI",
        "target hdi (cluster)",
        "password of train.runconfig",
    ):
        assert told[what] == "impossible", what
    assert told["graphics cards of docker"] == "changed"
    assert "s3cret" not in repr(draft)


def test_python_in_a_container_is_followed_first(tmp_path: Path) -> None:
    root = folder(tmp_path, a__runconfig=SDK, b__runconfig="Target: local\nFramework: Python\n", c__runconfig=WORKBENCH)
    assert read_azure_folder(root, root / "aml_config", {}).run.name == "c"


def test_a_dependency_file_that_has_to_be_mended_is_told(tmp_path: Path) -> None:
    root = folder(tmp_path, docker__runconfig=WORKBENCH)
    (root / "aml_config" / "conda_dependencies.yml").write_text("dependencies: [python=3.5.2]\n")
    draft = read_azure_folder(root, root / "aml_config", {})
    (one,) = [one for one in draft.carried if one.what.startswith("dependencies")]
    assert (one.fate.value, draft.conda) == ("changed", "aml_config/conda_dependencies.yml")
    assert "aml_config/conda_dependencies.yml:1: Python 3.5" in one.why
    (root / "aml_config" / "conda_dependencies.yml").unlink()
    assert read_azure_folder(root, root / "aml_config", {}).conda is None


@pytest.mark.parametrize(
    ("files", "place", "match"),
    [
        ({}, "aml_config", "no file of Azure ML here"),
        ({}, "gone", "no such file or folder"),
        ({"x__runconfig": "- a\n"}, "aml_config", r"aml_config/x\.runconfig:1: not a file of Azure ML"),
        ({"x__runconfig": "Target: a\nTarget: b\n"}, "aml_config", r"aml_config/x\.runconfig:2: 'Target' stands twice"),
        ({"x__compute": "type: [\n"}, "aml_config", r"aml_config/x\.compute:\d: not YAML"),
    ],
)
def test_refusals(tmp_path: Path, files: dict[str, str], place: str, match: str) -> None:
    root = folder(tmp_path, **files)
    with pytest.raises(DeclarationError, match=match):
        read_azure_folder(root, root / place, {})


def test_every_cut_is_read_or_refused(tmp_path: Path) -> None:
    crashed = []
    for end in range(0, len(SDK), 3):
        root = folder(tmp_path, train__runconfig=SDK[:end])
        try:
            read_azure_folder(root, root / "aml_config", {})
        except WherryError:
            continue
        except Exception as error:  # noqa: BLE001
            crashed.append((end, error))
    assert not crashed


def test_the_real_files(tmp_path: Path, shared_data: Path) -> None:
    files = sorted((shared_data / "env" / "runconfig").iterdir())
    for position, file in enumerate(files):
        if file.suffix == ".compute":
            assert read_azure_target(file, file.name).kind
        else:
            assert read_azure_run(file, file.name).framework in ("Python", "PySpark")
        place = tmp_path / str(position) / "aml_config"
        place.mkdir(parents=True)
        shutil.copy(file, place)
        assert "REDACTED" not in repr(read_azure_folder(place.parent, place, {}))
    assert len(files) == 20
