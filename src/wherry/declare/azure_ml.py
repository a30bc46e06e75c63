"""Azure ML Workbench's files, ``aml_config/*.runconfig`` and ``*.compute``, to plain values. Also the SDK's later ``.runconfig``.

Keys are read in any case, as both tools wrote them. Credentials are never kept, only that there were some: user names,
passwords, keys, and variables that look like secrets. Sections for Spark, HDInsight and the like are named, not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wherry.declare.requirement_lines import decode_requirements
from wherry.errors import DeclarationError, FormatError
from wherry.formats.urls import strip_channel_credentials
from wherry.formats.yaml_document import YamlMap, YamlNode, YamlScalar, items_of, parse_yaml, scalar_of

RUN, COMPUTE = ".runconfig", ".compute"
_SIZE_LIMIT = 1 << 20
_CREDENTIALS = (
    "username",
    "password",
    "privatekey",
    "privatekeyfile",
    "privatekeypassphrase",
    "accountkey",
    "sastoken",
    "subscriptionid",
)
_SECRET_NAME = re.compile(
    r"(?i)passw|secret|token|credential|(?:api|account|access|private|storage|subscription).?key|connection.?str|\bsas\b"
)
_SECRET_VALUE = re.compile(r"(?i)AccountKey=|SharedAccess|[?&]sig=|://[^/\s@]+:[^/\s@]+@|BEGIN [A-Z ]*PRIVATE KEY")
_ELSEWHERE = {
    "hdi": "HDInsight",
    "batchai": "Batch AI",
    "containerinstance": "Azure Container Instances",
    "amlcompute": "AmlCompute clusters",
    "datareferences": "data references",
    "datasourcesettings": "samples of data sources",
    "datasourcesubstitutions": "substitutions of data sources",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureTarget:
    """A ``.compute``. `kind` is as written: local, docker, remotedocker, cluster … `withheld` are keys of credentials."""

    name: str
    kind: str
    image: str | None = None
    address: str | None = None
    share: str | None = None  # the folder that runs share; None where sharing is off
    gpu: bool = False
    python: str | None = None
    withheld: tuple[str, ...] = ()

    @property
    def is_docker(self) -> bool:
        return "docker" in self.kind.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureRun:
    """A ``.runconfig``. `elsewhere` names sections for services of Azure, `spark` what it asks of Spark, `withheld` secrets."""

    name: str
    target: str
    framework: str
    command: tuple[str, ...] = ()
    conda: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    container: AzureTarget | None = None  # the later kind of file describes it itself
    spark: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()

    @property
    def is_spark(self) -> bool:
        return "spark" in self.framework.lower()


def read_azure_run(path: Path, where: str) -> AzureRun:
    """Read a ``.runconfig``; `where` names it in every `DeclarationError`."""
    document = _read_map(path, where)
    inner = _Section(document)
    environment = inner.section("environment")
    python, docker = environment.section("python"), environment.section("docker")
    variables, withheld = _split_variables(inner.node("environmentVariables") or environment.node("environmentVariables"))
    spark = _spark_packages(environment.section("spark"))
    spark += ("its configuration",) if inner.node("spark") is not None else ()
    if not python.flag("userManagedDependencies") and (
        conda := inner.text("condaDependenciesFile") or python.text("condaDependenciesFile")
    ):
        conda = conda.replace("\\", "/")
    else:
        conda = None
    container = _container(docker) if docker.flag("enabled") else None
    return AzureRun(
        name=path.stem,
        target=inner.text("target") or "local",
        framework=inner.text("framework") or "Python",
        command=_command(inner),
        conda=conda,
        variables=variables,
        container=container,
        spark=spark,
        elsewhere=tuple(text for key, text in _ELSEWHERE.items() if inner.node(key) is not None),
        withheld=(*withheld, *(container.withheld if container else ())),
    )


def read_azure_target(path: Path, where: str) -> AzureTarget:
    """Read a ``.compute``; `where` names it in every `DeclarationError`."""
    found = _Section(_read_map(path, where))
    share = found.text("nativeSharedDirectory")
    return AzureTarget(
        name=path.stem,
        kind=found.text("type") or "local",
        image=found.text("baseDockerImage"),
        address=strip_channel_credentials(address) if (address := found.text("address")) else None,
        share=share if share and found.flag("sharedVolumes") else None,
        gpu=found.flag("nvidiaDocker") or found.flag("gpuSupport"),
        python=location if (location := found.text("pythonLocation")) not in (None, "python") else None,
        withheld=found.withheld(),
    )


@dataclass(frozen=True, slots=True)
class _Section:
    """A mapping whose keys are found in any case."""

    map: YamlMap | None

    def node(self, key: str) -> YamlNode | None:
        pairs = self.map.pairs if self.map else ()
        return next((value for name, value in pairs if name.text.lower() == key.lower()), None)

    def text(self, key: str) -> str | None:
        return scalar_of(self.node(key))

    def flag(self, key: str) -> bool:
        return (self.text(key) or "").lower() in ("true", "yes", "on", "1")

    def section(self, key: str) -> _Section:
        found = self.node(key)
        return _Section(found if isinstance(found, YamlMap) else None)

    def withheld(self) -> tuple[str, ...]:
        pairs = self.map.pairs if self.map else ()
        return tuple(name.text for name, value in pairs if name.text.lower() in _CREDENTIALS and scalar_of(value))


def _read_map(path: Path, where: str) -> YamlMap:
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise DeclarationError(f"larger than {_SIZE_LIMIT >> 20} MiB", where=where)
        document = parse_yaml(decode_requirements(path.read_bytes(), where), where)
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=where) from error
    except FormatError as error:
        raise DeclarationError(error.what, where=error.where, hint=error.hint) from error
    if not isinstance(document, YamlMap):
        raise DeclarationError(
            "not a file of Azure ML: a list or a text alone", where=f"{where}:{document.line}", hint='Target: "local"'
        )
    return document


def _container(docker: _Section) -> AzureTarget:
    registry = docker.section("baseImageRegistry")
    image, host = docker.text("baseImage"), registry.text("address")
    if image and host and "." not in image.partition("/")[0]:
        image = f"{strip_channel_credentials(host).removeprefix('https://').rstrip('/')}/{image}"
    return AzureTarget(
        name="docker",
        kind="docker",
        image=image,
        share="~/.azureml/share/" if docker.flag("sharedVolumes") else None,
        gpu=docker.flag("gpuSupport"),
        withheld=registry.withheld(),
    )


def _split_variables(node: YamlNode | None) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Variables to keep, and the names of those that look like secrets."""
    kept, withheld = [], []
    for key, value in node.pairs if isinstance(node, YamlMap) else ():
        text = scalar_of(value) or ""
        if _SECRET_NAME.search(key.text) or _SECRET_VALUE.search(text):
            withheld.append(key.text)
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", key.text) and isinstance(value, YamlScalar):
            kept.append((key.text, text))
    return tuple(sorted(kept)), tuple(withheld)


def _command(found: _Section) -> tuple[str, ...]:
    """Script and arguments, where the file names them: Workbench's ``$file`` was whatever was open."""
    words = [text for item in items_of(found.node("argumentVector")) if (text := scalar_of(item)) is not None]
    if script := found.text("script"):
        words = [script, *(text for item in items_of(found.node("arguments")) if (text := scalar_of(item)) is not None)]
    if not words or words[0].startswith("$") or not words[0].endswith(".py"):
        return ()
    return ("python", *words)


def _spark_packages(spark: _Section) -> tuple[str, ...]:
    parts = [_Section(item) for item in items_of(spark.node("packages")) if isinstance(item, YamlMap)]
    return tuple(f"{part.text('group')}:{part.text('artifact')}:{part.text('version')}" for part in parts)
