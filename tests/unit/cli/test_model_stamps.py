"""Stamps of models in a check: what is said of a model that a job made in another environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulators.bases import AMD64, ARM64
from tests.unit.rebasing_images import put_image
from wherry.cli import model_stamps
from wherry.cli.model_stamps import add_stamp_findings, warn_of_stamps
from wherry.errors import CheckError
from wherry.model.report import Finding, Report, Seen, Severity
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage

STAMPED = Finding(
    rule="model-stamp", severity=Severity.WARNING, subject="m", what="m: made elsewhere", where=("/m",), remedy="train"
)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> DiskStore:
    """With an image whose model is of another environment."""

    def judge(image: StoredImage, *_: object) -> tuple[Finding, ...]:
        return (STAMPED,) if image.platform == AMD64 else ()

    monkeypatch.setattr(model_stamps, "judge_stamps", judge)
    store = DiskStore(Path(os.environ["WHERRY_STORE"]))
    put_image(store, "image:1", [{"m": b""}])
    return store


def test_a_warning_or_a_refusal_before_it_leaves(store: DiskStore, capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_stamps(store, "image:1", (), strict=False)
    assert capsys.readouterr().err == "warning: m: made elsewhere\n"
    with pytest.raises(CheckError, match="made elsewhere"):
        warn_of_stamps(store, "image:1", (AMD64,), strict=True)
    warn_of_stamps(store, "image:1", (ARM64,), strict=True)
    warn_of_stamps(store, "somewhere.test/else:1", (), strict=True)
    assert capsys.readouterr().err == ""


def test_a_report_has_it_in_its_place(store: DiskStore) -> None:
    error = Finding(rule="interpreter", severity=Severity.ERROR, subject="x", what="x")
    reports = [Report(subject="image:1", platform=each, findings=(error,), seen=Seen()) for each in (AMD64, ARM64)]
    amd64, arm64 = add_stamp_findings(reports, Path(), store, "image:1")
    assert amd64.findings == (error, STAMPED)
    assert arm64.findings == (error,)
    assert add_stamp_findings(reports, Path(), store, "unknown") == tuple(reports)
