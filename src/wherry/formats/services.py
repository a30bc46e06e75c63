"""Renders a compose file and a unit of systemd's that keep a container running. Opens nothing.

A compose file's strings are written as JSON, which YAML is a superset of, with ``$`` doubled as compose wants it. In a unit a
word is quoted as systemd.syntax(7) says; ``%`` and ``$`` are doubled, for it knows both.
"""

from __future__ import annotations

import json
import re

from wherry.errors import UsageError
from wherry.formats.dockerfile import render_head
from wherry.model.docker_files import DockerService

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def render_compose(service: DockerService) -> str:
    """A compose file of one service. Ports are published on loopback alone."""
    uses = ("docker compose up -d       (or: podman-compose up -d)",)
    lines = ["services:", f"  {_yaml(service.name)}:", f"    image: {_yaml(service.image)}"]
    lines += [f"    pull_policy: {_yaml('missing' if service.pulled else 'never')}", '    restart: "on-failure"']
    if service.ports:
        lines += ["    ports:", *(f"      - {_yaml(_publish(port))}" for port in service.ports)]
    if service.volumes:
        lines += ["    volumes:", *(f"      - {_yaml(f'{name}:{place}')}" for name, place in service.volumes)]
        lines += ["volumes:", *(f"  {_yaml(name)}: {{}}" for name, _ in service.volumes)]
    return render_head("compose", service.losses, *_before(service, "docker"), *uses) + "\n".join(lines) + "\n"


def render_unit(service: DockerService, engine: str) -> str:
    """A unit that runs the container in the foreground of podman or docker."""
    program, file = f"/usr/bin/{engine}", f"{service.name}.service"
    uses = (f"cp {file} /etc/systemd/system/ && systemctl enable --now {file}",)
    run = [program, "run", "--rm", f"--name={service.name}", f"--pull={'missing' if service.pulled else 'never'}"]
    run += [f"--publish={_publish(port)}" for port in service.ports]
    run += [f"--volume={name}:{place}" for name, place in service.volumes]
    wants = ["Wants=network-online.target", "After=network-online.target"]
    wants += ["Requires=docker.service", "After=docker.service"] if engine == "docker" else []
    lines = ["[Unit]", f"Description={service.name} in {engine}", *wants, ""]
    lines += ["[Service]", "Type=exec"]
    lines += [f"ExecStartPre=-{_command(program, 'rm', '--force', service.name)}"]
    lines += [f"ExecStart={_command(*run, service.image)}"]
    lines += [f"ExecStop=-{_command(program, 'stop', '--time', '10', service.name)}"]
    lines += ["Restart=on-failure", "RestartSec=5", "TimeoutStopSec=30", "", "[Install]", "WantedBy=multi-user.target"]
    return render_head("systemd", service.losses, *_before(service, engine), *uses) + "\n".join(lines) + "\n"


def _before(service: DockerService, engine: str) -> tuple[str, ...]:
    return () if service.pulled else (f"wherry image load {service.image} --into {engine}      before, and after each build",)


def _publish(port: str) -> str:
    number, _, protocol = port.partition("/")
    return f"127.0.0.1:{number}:{number}" + ("" if protocol in ("", "tcp") else f"/{protocol}")


def _yaml(text: str) -> str:
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)


def _command(*words: str) -> str:
    return " ".join(map(_word, words))


def _word(text: str) -> str:
    if not text.isprintable():
        raise UsageError(f"cannot stand in a unit: {text!r}")
    doubled = text.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return doubled
    return '"' + doubled.replace("\\", "\\\\").replace('"', '\\"') + '"'
