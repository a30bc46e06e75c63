"""The systemd unit under which the agent runs."""

from __future__ import annotations

from pathlib import Path

# KillMode: containers of the embedded engine are children of the agent's, and go on while it is exchanged itself.
_UNIT = """\
[Unit]
Description=wherry-agent: takes this device's updates, and takes them back
Wants=network-online.target
After=network-online.target docker.service containerd.service podman.service

[Service]
ExecStart={program} --config {config} run
Restart=always
RestartSec=10
KillMode=process
TimeoutStopSec=30
Nice=10
IOSchedulingClass=idle

[Install]
WantedBy=multi-user.target
"""


def render_unit(program: Path, config: Path) -> str:
    """The unit's text, for a program and an agent.toml at these places."""
    return _UNIT.format(program=_quote(program.absolute()), config=_quote(config.absolute()))


def _quote(path: Path) -> str:
    text = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if " " in text else text
