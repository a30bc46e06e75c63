"""`wherry export`: the group of what is written for other systems; each kind is a module of its own."""

from __future__ import annotations

import typer

from wherry.cli import export_docker, export_iotedge, export_provenance, export_sbom

export_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Write what other systems build or deploy an image by.")


def register(app: typer.Typer) -> None:
    export_docker.register(export_app)
    export_iotedge.register(export_app)
    export_sbom.register(export_app)
    export_provenance.register(export_app)
    app.add_typer(export_app, name="export")
