"""What a target says of Azure Batch."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.declare.targets import parse_targets
from wherry.errors import DeclarationError
from wherry.model.azure import AzurePool
from wherry.model.job import BackendKind

LEAST: dict[str, Any] = {
    "backend": "azure-batch",
    "account": "https://mine.westeurope.batch.azure.com",
    "vm-size": "Standard_E32_v5",
    "image": "registry.example/ml/model",
}


def parse(**more: Any) -> AzurePool:
    (target,) = parse_targets({"big": {**LEAST, **{key.replace("_", "-"): value for key, value in more.items()}}}, "wherry.toml")
    assert target.backend is BackendKind.AZURE_BATCH
    assert target.azure is not None
    return target.azure


def test_the_least_that_has_to_be_said() -> None:
    assert parse() == AzurePool(
        account="https://mine.westeurope.batch.azure.com", vm_size="Standard_E32_v5", image="registry.example/ml/model"
    )


def test_spot_nodes_alone() -> None:
    pool = parse(spot_nodes=3)
    assert (pool.nodes, pool.spot_nodes, pool.most) == (0, 3, 3)


def test_credentials_are_named_and_not_said() -> None:
    pool = parse(registry_user="puller", registry_password_env="REGISTRY_PASSWORD")
    assert (pool.registry_user, pool.registry_password) == ("puller", "REGISTRY_PASSWORD")


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"account": None}, "account"),
        ({"account": "https://mine.westeurope.batch.azure.com/?sig=x"}, "account"),
        ({"account": "http://elsewhere.example"}, "account"),
        ({"vm_size": "two words"}, "vm-size"),
        ({"image": "Not An Image"}, "image"),
        ({"nodes": 0}, "targets.big"),
        ({"nodes": True}, "nodes"),
        ({"spot_nodes": -1}, "spot-nodes"),
        ({"vm_image": "ubuntu"}, "vm-image"),
        ({"start_task": [1]}, "start-task"),
        ({"registry_user": "puller"}, "targets.big"),
        ({"registry_password_env": "not a name"}, "registry-password-env"),
        ({"registry_user": "me", "registry_password_env": "P", "start_task": "apt-get install docker.io"}, "registry-user"),
        ({"registry_identity": "me"}, "registry-identity"),
        ({"price_per_hour": "2"}, "price-per-hour"),
        ({"price_per_hour": 0}, "price-per-hour"),
        ({"vmsize": "x"}, "targets.big"),
    ],
)
def test_what_is_no_pool(more: dict[str, Any], where: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(**more)
    assert str(caught.value.where).endswith(where)
    assert caught.value.hint


def test_other_backends_have_no_such_keys() -> None:
    with pytest.raises(DeclarationError, match="vm-size"):
        parse_targets({"big": {"backend": "slurm", "vm-size": "Standard_E32_v5"}}, "wherry.toml")


@pytest.mark.parametrize(
    ("size", "cores"),
    [
        ("Standard_E32_v5", 32),
        ("Standard_D4s_v3", 4),
        ("standard_nc24ads_a100_v4", 24),
        ("Standard_M416-208s_v3", 208),
        ("Standard_D11_v2", None),
        ("Standard_A1", None),
    ],
)
def test_a_size_tells_its_processors_from_version_3_on(size: str, cores: int | None) -> None:
    assert parse(vm_size=size).cores == cores
