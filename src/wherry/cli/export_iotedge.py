"""`wherry export iotedge`: an image or a release as the manifest that Azure IoT Edge deploys it by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.cli.epilog import render_examples
from wherry.cli.options import AsJson, DryRun, PlainHttp
from wherry.cli.talk import print_json, say
from wherry.errors import FormatError, UsageError
from wherry.model.edge import RUNTIME, EdgeLogin, EdgeModule, EdgeRoute
from wherry.model.platform import Platform
from wherry.model.reference import Reference

if TYPE_CHECKING:
    from wherry.deliver.edge import Deployment
    from wherry.deliver.edge_images import EdgeImage
    from wherry.deliver.edge_options import EdgeOptions
    from wherry.sources.registries import RegistryAccess

EXPORT_SCHEMA = 1
NO_ROUTE = "none"
_MOST = 4 << 20
_EXAMPLES = render_examples(
    ("wherry export iotedge ghcr.io/you/anomaly:7 -o deployment.json", ""),
    ("wherry export iotedge $IMAGE -p 8080:80 -v data:/data --memory 256m", ""),
    ("wherry export iotedge $IMAGE --into base.json -o base.json", ""),
    ("wherry export iotedge $IMAGE --layered -o layer.json", ""),
    ("wherry export iotedge --channel ./vans --brought-as app -o van.json", ""),
    before="IMAGE=$(wherry push ghcr.io/you/anomaly) is what was just pushed.",
)


def register(app: typer.Typer) -> None:
    app.command("iotedge", epilog=_EXAMPLES)(export_iotedge)


class Credentials(StrEnum):
    """What a manifest says of the registry's login."""

    REFERENCE = "reference"
    INLINE = "inline"
    NONE = "none"


_IMAGE = typer.Argument(metavar="IMAGE", help="REGISTRY/NAME[:TAG][@DIGEST], or an image of the store; none: the project's.")
_CHANNEL = typer.Option("--channel", metavar="DIR", help="The newest release of this channel, instead of IMAGE.")
_PLATFORM = typer.Option("--platform", metavar="OS/ARCH", help="Only this platform's image; else devices take theirs.")
_REPOSITORY = typer.Option("--repository", metavar="REGISTRY/NAME", help="Where devices pull an image of the store or a channel.")
_BROUGHT = typer.Option("--brought-as", metavar="NAME", help="wherry-agent brings the image, under its container's name: no pull.")
_MODULE = typer.Option("--module", metavar="NAME", help="The module's name; else made of the image's.")
_VERSION = typer.Option("--version", metavar="TEXT", help="The module's version; else the release's number, the tag or digest.")
_PUBLISH = typer.Option("-p", "--publish", metavar="[HOST:]PORT", help="Publish a port.")
_VOLUME = typer.Option("-v", "--volume", metavar="HOST:CONTAINER[:ro]", help="Mount a device's folder or file, or a named volume.")
_ENV = typer.Option("-e", "--env", metavar="KEY[=VALUE]", help="Set a variable, or pass this shell's on.")
_RESTART = typer.Option("--restart", metavar="POLICY", help="always, never, on-failure or on-unhealthy. [always]")
_ORDER = typer.Option("--startup-order", metavar="N", min=0, max=(1 << 32) - 1, help="0 starts first; without it, last.")
_MEMORY = typer.Option("--memory", metavar="SIZE", help="The most memory it may take, such as 256m.")
_CPUS = typer.Option("--cpus", metavar="N", help="The most processors it may take, such as 0.5.")
_USER = typer.Option("-u", "--user", metavar="USER[:GROUP]", help="Run as this user of the image.")
_WORKDIR = typer.Option("-w", "--workdir", metavar="DIR", help="The folder in the container to start in.")
_NETWORK = typer.Option("--network", metavar="NAME", help="host, or a network of the device.")
_GPUS = typer.Option("--gpus", metavar="all|N", help="GPUs to pass on.")
_READ_ONLY = typer.Option("--read-only", help="Make the container's root read-only.")
_EXTRA = typer.Option("--create-options", metavar="FILE", help="JSON of docker's create request, over all of the above.")
_ROUTE = typer.Option("--route", metavar="NAME=ROUTE", help="A route for messages; none: no route. [all outputs to the hub]")
_LAYERED = typer.Option("--layered", help="A layered deployment: this module alone, without the system modules.")
_RUNTIME = typer.Option("--runtime", metavar="TAG", help="The release of edgeAgent and edgeHub.")
_CREDENTIALS = typer.Option("--credentials", help="The registry's login: as placeholders, as it is, or not at all.")
_INTO = typer.Option("--into", metavar="FILE", help="Put the module into this manifest and keep what else it says.")
_OUTPUT = typer.Option("-o", "--output", metavar="FILE", help="Where to write it; else stdout.")
_OFFLINE = typer.Option("--offline", help="Do not look whether the registry has an image of the store or a channel.")


def export_iotedge(
    image: Annotated[str | None, _IMAGE] = None,
    channel: Annotated[Path | None, _CHANNEL] = None,
    platform: Annotated[str | None, _PLATFORM] = None,
    repository: Annotated[str | None, _REPOSITORY] = None,
    brought_as: Annotated[str | None, _BROUGHT] = None,
    module: Annotated[str, _MODULE] = "",
    version: Annotated[str, _VERSION] = "",
    publish: Annotated[list[str] | None, _PUBLISH] = None,
    volume: Annotated[list[str] | None, _VOLUME] = None,
    env: Annotated[list[str] | None, _ENV] = None,
    restart: Annotated[str | None, _RESTART] = None,
    startup_order: Annotated[int | None, _ORDER] = None,
    memory: Annotated[str | None, _MEMORY] = None,
    cpus: Annotated[str | None, _CPUS] = None,
    user: Annotated[str | None, _USER] = None,
    workdir: Annotated[str | None, _WORKDIR] = None,
    network: Annotated[str | None, _NETWORK] = None,
    gpus: Annotated[str | None, _GPUS] = None,
    read_only: Annotated[bool, _READ_ONLY] = False,
    create_options: Annotated[Path | None, _EXTRA] = None,
    route: Annotated[list[str] | None, _ROUTE] = None,
    layered: Annotated[bool, _LAYERED] = False,
    runtime: Annotated[str, _RUNTIME] = RUNTIME,
    credentials: Annotated[Credentials, _CREDENTIALS] = Credentials.REFERENCE,
    into: Annotated[Path | None, _INTO] = None,
    output: Annotated[Path | None, _OUTPUT] = None,
    offline: Annotated[bool, _OFFLINE] = False,
    plain_http: PlainHttp = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write the deployment manifest of an Azure IoT Edge module.

    The image goes by digest, options are docker's. What would be refused by the hub or on the device is refused here.
    """
    # The network's modules load when there is something to export.
    from wherry.deliver.edge import choose_module_name, parse_restart, plan_deployment, start_deployment

    options = replace(
        _parse_options(publish, volume, env, memory, cpus, create_options),
        user=user,
        workdir=workdir,
        network=network,
        gpus=gpus,
        read_only=read_only,
    )
    former = start_deployment(_read_file(into) if into else None, str(into), layered=layered, runtime=runtime)
    wanted = Platform.parse(platform, where="--platform") if platform else None
    found, login = _find_image(image, channel, wanted, repository, credentials, brought_as, offline, plain_http)
    name = choose_module_name(module, brought_as or (found.reference.repository if found.reference else ""))
    told = replace(
        _describe_module(name, found, options, former, brought_as),
        version=version or found.version,
        restart=None if restart is None else parse_restart(restart),
        startup_order=startup_order,
    )
    deployment = plan_deployment(former, told, _parse_routes(route), login)
    _write(deployment, told, None if dry_run else output, dry_run=dry_run, as_json=as_json)


def _describe_module(
    name: str, found: EdgeImage, options: EdgeOptions, former: Mapping[str, Any], brought_as: str | None
) -> EdgeModule:
    """The module as its image, docker's options and the former manifest make it."""
    from wherry.deliver.edge_options import derive_create_options, split_env
    from wherry.formats.iotedge import find_create_options

    return EdgeModule(
        name=name,
        image=found.name_brought(brought_as) if brought_as else found.name_pulled(),
        pulled=not brought_as,
        create_options=derive_create_options(name, found.config, options, found.health, find_create_options(former, name)),
        env=split_env(options.env)[0],
    )


def _parse_options(
    publish: list[str] | None,
    volume: list[str] | None,
    env: list[str] | None,
    memory: str | None,
    cpus: str | None,
    create_options: Path | None,
) -> EdgeOptions:
    """What has to be read of docker's options; the others are taken as they are."""
    from wherry.deliver.edge_options import EdgeOptions, parse_cpus, parse_memory
    from wherry.run.grammar import parse_env, parse_mount, parse_port

    return EdgeOptions(
        ports=tuple(parse_port(text) for text in publish or ()),
        mounts=tuple(parse_mount(_refuse_relative(text), Path("/"), {}) for text in volume or ()),
        env=parse_env(env or (), os.environ),
        memory=None if memory is None else parse_memory(memory),
        cpus=None if cpus is None else parse_cpus(cpus),
        extra=_read_extra(create_options),
    )


def _parse_routes(texts: list[str] | None) -> tuple[EdgeRoute, ...] | None:
    """None where the deployment's own stay."""
    from wherry.deliver.edge import parse_route

    return None if texts is None else tuple(parse_route(text) for text in texts if text != NO_ROUTE)


def _find_image(
    text: str | None,
    channel: Path | None,
    platform: Platform | None,
    repository: str | None,
    credentials: Credentials,
    brought_as: str | None,
    offline: bool,
    plain_http: bool,
) -> tuple[EdgeImage, EdgeLogin | None]:
    """The image, and how devices log in where they pull it."""
    from wherry.deliver.edge import refer_to_login, spell_out_login
    from wherry.deliver.edge_images import check_pushed
    from wherry.sources.credentials import find_login
    from wherry.sources.registries import access_registries
    from wherry.store.places import cache_path

    if text and channel:
        raise UsageError("IMAGE and --channel exclude each other")
    place = Reference.parse(repository) if repository else None
    access = access_registries(os.environ, cache=cache_path(os.environ), plain_http=plain_http)
    try:
        found, asked = _read_image(access, text, channel, place, platform)
        if brought_as:
            return found, None
        if not asked and not offline:
            check_pushed(access, found)
    finally:
        access.close()
    pulled = Reference.parse(found.name_pulled())
    if credentials is Credentials.INLINE:
        return found, spell_out_login(pulled, find_login(pulled.registry, pulled.repository, os.environ))
    return found, refer_to_login(pulled.registry) if credentials is Credentials.REFERENCE else None


def _read_image(
    access: RegistryAccess, text: str | None, channel: Path | None, place: Reference | None, platform: Platform | None
) -> tuple[EdgeImage, bool]:
    """The image, and whether a registry has just told of it."""
    from wherry.cli.pull import names_a_registry
    from wherry.deliver.edge_images import find_registry_image, find_released_image, find_stored_image
    from wherry.store.disk import DiskStore
    from wherry.store.places import store_path

    if channel is not None:
        return find_released_image(channel, place, platform), False
    if text and names_a_registry(text):
        if place is not None:
            raise UsageError("--repository is for an image of the store or a channel", where=text)
        return find_registry_image(access, Reference.parse(text), platform), True
    return find_stored_image(DiskStore(store_path(os.environ)), text or _project_image(), place, platform), False


def _project_image() -> str:
    from wherry.declare.project import read_declaration

    return f"{read_declaration(Path(), os.environ).name}:latest"


def _refuse_relative(text: str) -> str:
    """A path of the device has to be whole: nobody's working folder, nobody's home."""
    if text.startswith((".", "~")) or ("/" in text.partition(":")[0] and not text.startswith("/")):
        raise UsageError(f"a device's path begins with a slash: -v {text}", hint="-v /srv/data:/data, or -v NAME:/data")
    return text


def _read_extra(path: Path | None) -> Mapping[str, Any]:
    from wherry.formats.oci_json import parse_json

    return parse_json(_read_file(path), str(path)) if path else {}


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(data) > _MOST:
        raise FormatError(f"more than {_MOST} bytes", where=str(path))
    return data


def _write(deployment: Deployment, module: EdgeModule, output: Path | None, *, dry_run: bool, as_json: bool) -> None:
    from wherry.formats.iotedge import render_deployment
    from wherry.store.posix import explain_os_errors, write_atomically

    rendered = render_deployment(deployment.document)
    if output is not None:
        umask = os.umask(0o077) if deployment.secret else None
        try:
            with explain_os_errors(output):
                write_atomically(output, rendered)
        finally:
            if umask is not None:
                os.umask(umask)
    kind = "layer" if deployment.layered else "deployment"
    say(f"{'would write' if dry_run else 'wrote'} a {kind} of module {module.name}: {module.image}")
    for note in deployment.notes:
        say(note)
    if as_json:
        print_json(
            {
                "schema": EXPORT_SCHEMA,
                "dry_run": dry_run,
                "file": str(output) if output else None,
                "layered": deployment.layered,
                "module": module.name,
                "image": module.image,
                "version": module.version,
                "manifest": deployment.document,
            }
        )
    elif output is None and not dry_run:
        print(rendered.decode(), end="")
