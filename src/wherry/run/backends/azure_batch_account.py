"""How an Azure Batch account, and the container of a sweep's state, are reached: credentials by reference, errors as ours.

Credentials are read when they are needed, from this process's surroundings: AZURE_BATCH_ACCESS_KEY and AZURE_STORAGE_ACCOUNT_KEY as
Azure's own programs have them, or else whatever azure-identity finds (a login, a managed identity). What nodes get of them is a
signature that can only write, for the sweep's time, to one container. None is in a message: what looks like a signature is cut.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.policies import RetryPolicy
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

from wherry.errors import EngineError, TransferError, UsageError, WherryError

KEY = "AZURE_BATCH_ACCESS_KEY"
# Every request that we make names what it makes, so that each may be made again.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))
_SIGNATURE = re.compile(r"\?[^\s\"']*|sig=[^\s&\"']*")
_NO_LOGIN = "no login to Azure"
_QUOTA = "a larger quota: Azure's portal, the Batch account, Quotas; or fewer nodes, or a smaller vm-size"
_HINTS = {
    "AuthenticationFailed": f"{KEY}, or az login; and the clock of this machine",
    _NO_LOGIN: f"{KEY} and AZURE_STORAGE_ACCOUNT_KEY, or az login",
    "AuthorizationFailure": "the role Azure Batch Data Contributor for who is logged in",
    "AccountCoreQuotaReached": _QUOTA,
    "AccountLowPriorityCoreQuotaReached": _QUOTA,
    "AccountSpotCoreQuotaReached": _QUOTA,
    "AccountVMSeriesCoreQuotaReached": "a larger quota of this family of machines, or a vm-size of another one",
    "PoolQuotaReached": "wherry sweep gc, for pools that nobody needs; or a larger quota of pools",
    "ActiveJobAndScheduleQuotaReached": "wherry sweep gc, for jobs that nobody needs; or a larger quota of active jobs",
    "AllocationTimedOut": "the region has none of these machines now: another vm-size, or later",
    "AllocationFailed": "another vm-size, or later",
}

# What Azure's libraries would print on stderr is told by our errors.
logging.getLogger("azure").addHandler(logging.NullHandler())


class AzureAccount:
    """A Batch account at `url`. One object keeps what it has learned to log in with."""

    def __init__(self, url: str, env: Mapping[str, str]) -> None:
        self.url = url
        self._env = env
        self._login: DefaultAzureCredential | None = None

    @contextmanager
    def open(self) -> Iterator[BatchClient]:
        """A client for some calls. What goes wrong in them is told as our errors; 429, 500 and 503 are tried again before."""
        key = self._env.get(KEY)
        named = self._env.get("AZURE_BATCH_ACCOUNT") or str(urlsplit(self.url).hostname).partition(".")[0]
        credential = AzureNamedKeyCredential(named, key) if key else self._log_in()
        retries = RetryPolicy(retry_total=8, retry_backoff_max=30, method_whitelist=_METHODS)
        with explain_azure(self.url), BatchClient(self.url, credential, retry_policy=retries) as client:
            yield client

    def sign_container(self, container: str, seconds: float) -> str:
        """The address of a container of the storage account, by which one can write to it for so long, and nothing else."""
        account, key = self._env.get("AZURE_STORAGE_ACCOUNT_NAME"), self._env.get("AZURE_STORAGE_ACCOUNT_KEY")
        if not account:
            raise UsageError("which storage account is the state in?", hint="AZURE_STORAGE_ACCOUNT_NAME")
        endpoint = self._env.get("AZURE_STORAGE_ENDPOINT") or f"https://{account}.blob.core.windows.net"
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        rights = ContainerSasPermissions(create=True, write=True)
        if key:
            signature = generate_container_sas(account, container, account_key=key, permission=rights, expiry=until)
        else:
            with explain_azure(endpoint), BlobServiceClient(endpoint, credential=self._log_in()) as service:
                delegated = service.get_user_delegation_key(datetime.now(UTC), until)
            signature = generate_container_sas(account, container, user_delegation_key=delegated, permission=rights, expiry=until)
        return f"{endpoint.rstrip('/')}/{quote(container)}?{signature}"

    def _log_in(self) -> DefaultAzureCredential:
        if self._login is None:
            self._login = DefaultAzureCredential()
        return self._login


@contextmanager
def explain_azure(where: str) -> Iterator[None]:
    """Errors of Azure's libraries as ours."""
    try:
        yield
    except HttpResponseError as error:
        message = error.error.message if error.error else error.message
        raise explain_code(read_code(error), str(message), where) from None
    except (ServiceRequestError, ServiceResponseError) as error:
        raise TransferError(f"it does not answer: {_scrub(str(error))}", where=where, hint="is it reachable from here?") from None
    except AzureError as error:
        raise EngineError(_scrub(str(error)), where=where, hint=f"{KEY}, or az login") from None


def explain_code(code: str, message: str, where: str) -> WherryError:
    """What Azure said, with what helps against it."""
    text = _scrub(message.partition("\nRequestId")[0]).strip()
    return EngineError(f"{code}: {text}" if text else code, where=where, hint=_HINTS.get(code))


def read_code(error: HttpResponseError) -> str:
    """Azure's word for what is wrong. A login that fails before anything is asked has none."""
    if error.error and error.error.code:
        return str(error.error.code)
    return f"status {error.status_code}" if error.status_code else _NO_LOGIN


def is_over(error: HttpResponseError) -> bool:
    """Whether what was refused is because the job has ended meanwhile."""
    return read_code(error) in ("JobCompleted", "JobTerminating", "JobNotActive", "JobBeingDeleted")


def _scrub(text: str) -> str:
    return _SIGNATURE.sub("?…", " ".join(text.split()))[:500]
