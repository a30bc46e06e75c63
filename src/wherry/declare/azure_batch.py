"""The keys of a target that is Azure Batch. A decoded table to an `AzurePool`, checked one by one; credentials by name alone.

[targets.big]
backend = "azure-batch"
account = "https://NAME.REGION.batch.azure.com"
vm-size = "Standard_E32_v5"
image = "myregistry.azurecr.io/ml/anomaly"
spot-nodes = 10
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wherry.errors import DeclarationError, UsageError
from wherry.model.azure import AzurePool
from wherry.model.reference import Reference

AZURE_KEYS = (
    *("account", "vm-size", "image", "nodes", "spot-nodes", "vm-image", "start-task", "subnet", "price-per-hour"),
    *("registry-user", "registry-password-env", "registry-identity"),
)
_ACCOUNT = re.compile(r"https://[a-z0-9]{3,24}\.[a-z0-9.-]+|http://(?:127\.0\.0\.1|localhost):\d+")
_SIZE = re.compile(r"[A-Za-z0-9_-]{3,60}")
_VM_IMAGE = re.compile(r"[^:\s]+:[^:\s]+:[^:\s]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESOURCE = re.compile(r"/subscriptions/\S+")
_MOST = 1000


def parse_azure(table: Mapping[str, Any], where: str) -> AzurePool:
    """Check what a target says of Azure Batch."""
    pool = AzurePool(
        account=_parse_text(table, "account", where, _ACCOUNT, "https://NAME.REGION.batch.azure.com").rstrip("/"),
        vm_size=_parse_text(table, "vm-size", where, _SIZE, "Standard_E32_v5"),
        image=_parse_image(table.get("image"), f"{where}.image"),
        nodes=_parse_nodes(table.get("nodes", 0 if "spot-nodes" in table else 1), f"{where}.nodes"),
        spot_nodes=_parse_nodes(table.get("spot-nodes", 0), f"{where}.spot-nodes"),
        vm_image=_parse_optional(table, "vm-image", where, _VM_IMAGE, "microsoft-dsvm:ubuntu-hpc:2204"),
        start_task=_parse_commands(table.get("start-task", []), f"{where}.start-task"),
        registry_user=_parse_optional(table, "registry-user", where, re.compile(r"\S+"), "the name to log in with"),
        registry_password=_parse_optional(table, "registry-password-env", where, _VARIABLE, "REGISTRY_PASSWORD"),
        registry_identity=_parse_optional(table, "registry-identity", where, _RESOURCE, "/subscriptions/…"),
        subnet=_parse_optional(table, "subnet", where, _RESOURCE, "/subscriptions/…/subnets/NAME"),
        price=_parse_price(table.get("price-per-hour"), f"{where}.price-per-hour"),
    )
    if not pool.most:
        raise DeclarationError("no nodes at all", where=where, hint="nodes or spot-nodes, at least 1")
    if (pool.registry_user is None) != (pool.registry_password is None):
        raise DeclarationError("a user without a password, or the other way", where=where, hint="registry-password-env")
    if pool.start_task and pool.registry_user:
        what = "nodes that install docker themselves are given no password: it would be readable on them"
        raise DeclarationError(what, where=f"{where}.registry-user", hint="log in with the node's identity, in start-task")
    return pool


def _parse_text(table: Mapping[str, Any], key: str, where: str, form: re.Pattern[str], example: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not form.fullmatch(value):
        what = f"which {key}?" if value is None else f"{value!r} is none"
        raise DeclarationError(what, where=f"{where}.{key}", hint=f'such as "{example}"')
    return value


def _parse_optional(table: Mapping[str, Any], key: str, where: str, form: re.Pattern[str], example: str) -> str | None:
    return _parse_text(table, key, where, form, example) if key in table else None


def _parse_image(value: object, where: str) -> str:
    try:
        return str(Reference.parse(value if isinstance(value, str) else ""))
    except UsageError as error:
        raise DeclarationError("where is the image to be pulled from?", where=where, hint='"REGISTRY/NAME"') from error


def _parse_nodes(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise DeclarationError(f"{value!r} is no number of nodes", where=where, hint=f"0 to {_MOST}")
    return value


def _parse_commands(value: object, where: str) -> tuple[str, ...]:
    commands = [value] if isinstance(value, str) else value
    if not isinstance(commands, list) or not all(isinstance(line, str) and line for line in commands):
        raise DeclarationError("not a list of commands", where=where, hint='["apt-get update", "apt-get install --yes docker.io"]')
    return tuple(commands)


def _parse_price(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise DeclarationError(f"{value!r} is no amount of money", where=where, hint="what a node costs an hour, such as 2.02")
    return float(value)
