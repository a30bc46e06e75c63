"""The lines of a wherry.toml that carry an Azure ML folder on: those of a bare folder, with what the folder says in their place."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.declare.azure_draft import AzureDraft
from wherry.declare.azure_ml import RUN, AzureTarget
from wherry.declare.draft import Choice, plan_choices, render_inline_table, render_text
from wherry.model.declaration import Declaration


def plan_azure_choices(declaration: Declaration, draft: AzureDraft) -> tuple[Choice, ...]:
    """`declaration` is the bare folder's, guessed with what the draft has written."""
    source = f"From {draft.run.name}{RUN}"
    choices = [_replace(choice, draft, source) for choice in plan_choices(declaration) if choice.key not in ("python", "env")]
    if declaration.env:
        value = render_inline_table({key: render_text(text) for key, text in declaration.env})
        choices.append(Choice(key="env", value=value, reason=f"{source}; variables that look like secrets are left out."))
    if declaration.volumes:
        value = "[" + ", ".join(map(render_text, declaration.volumes)) + "]"
        choices.append(Choice(key="volumes", value=value, reason="The folder that runs shared: wherry run -v HOST:CONTAINER."))
    if draft.targets:
        reason = "As Workbench knew them, without credentials. Jobs go to those on this machine: wherry run --on NAME COMMAND."
        choices.append(Choice(key="targets", value=_render_targets(draft.targets), reason=reason))
    return tuple(choices)


def _replace(choice: Choice, draft: AzureDraft, source: str) -> Choice:
    if choice.key == "environment" and draft.conda:
        return Choice(key="environment", value=render_text(draft.conda), reason=f"{source}: its packages, Python among them.")
    if choice.key == "base" and draft.base_image:
        return Choice(key="base", value=choice.value, reason=f'{source}\'s target. Put "debian:bookworm" where it is not needed.')
    if choice.key == "entrypoint" and draft.run.command:
        return Choice(key="entrypoint", value=choice.value, reason=f"{source}.")
    return choice


def _render_targets(targets: Sequence[AzureTarget]) -> str:
    tables = {}
    for target in targets:
        values = {"type": render_text(target.kind)}
        if target.address:
            values["address"] = render_text(target.address)
        if target.gpu:
            values["gpus"] = "true"
        tables[target.name] = render_inline_table(values)
    return render_inline_table(tables)
