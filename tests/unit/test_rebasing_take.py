"""New files on the layers that devices have: `Rebaser.plan_take`."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulators.bases import Files
from tests.unit.check.trees import link
from tests.unit.rebasing_images import OWN_ENV, base_files, environment_files, open_store, put_image
from wherry.errors import FormatError, StoreError, UsageError
from wherry.formats.tar import EntryKind, TarEntry, directory_entry, file_entry
from wherry.rebasing import RebasePlan, Rebaser
from wherry.sources.registries import access_registries
from wherry.store.archive import read_layer
from wherry.store.disk import DiskStore

SETTINGS = {"WorkingDir": "/app", "Cmd": ["python"]}
MODEL = "app/models/a.bin"


@pytest.fixture
def store() -> DiskStore:
    return open_store()[0]


@pytest.fixture
def rebaser(store: DiskStore) -> Iterator[Rebaser]:
    with closing(access_registries({})) as access:
        yield Rebaser(store, open_store()[1], access)


def put(store: DiskStore, name: str, top: Files, *, environment: Files | None = None, base: Files | None = None) -> None:
    layers = [base or base_files(), environment or environment_files(), top]
    put_image(store, name, layers, env=OWN_ENV, settings=SETTINGS)


def added(store: DiskStore, plan: RebasePlan) -> list[dict[str, tarfile.TarInfo]]:
    """What each of the plan's own layers has."""
    config = plan.documents.config.decode()
    found = []
    for layer in plan.own:
        diff_ids = [one for one in config.split('"') if one.startswith("sha256:")]
        raw = next(data for one in diff_ids if (data := _try(store, layer.digest, one)))
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            found.append({member.name: member for member in archive.getmembers()})
    return found


def _try(store: DiskStore, digest: object, diff_id: str) -> bytes:
    from wherry.errors import TrustError
    from wherry.model.digest import DiffId

    try:
        return b"".join(read_layer(store, digest, DiffId.parse(diff_id)))  # type: ignore[arg-type]
    except TrustError:
        return b""


def test_only_what_changed_moves(store: DiskStore, rebaser: Rebaser) -> None:
    put(store, "old:1", {MODEL: b"one", "app/models/same.bin": b"same", "app/models/gone.bin": b"gone", "app/main.py": b"1"})
    owned = replace(file_entry(MODEL, b"two", 0o640), owner=(1000, 3_000_000), mtime=1_700_000_000)
    put(store, "new:1", {MODEL: owned, "app/models/same.bin": b"same", "app/main.py": b"2", "app/other": b""})
    (plan,) = rebaser.plan_take("new:1", "old:1", ["models", "/app/main.py"])
    assert plan.findings == ()
    models, code = added(store, plan)
    assert sorted(models) == ["app", "app/models", "app/models/.wh.gone.bin", MODEL]
    member = models[MODEL]
    assert (member.size, member.mode, member.uid, member.gid, member.mtime) == (3, 0o640, 1000, 3_000_000, 1_700_000_000)
    assert sorted(code) == ["app", "app/main.py"]
    assert plan.moved == sum(layer.size for layer in plan.own) + len(plan.documents.config) + len(plan.documents.manifest)
    assert plan.notes == ("1 other files differ and stay as they are in the former image: /app/other",)
    assert b'"wherry layer model models"' in plan.documents.config
    assert b'"wherry layer code main.py"' in plan.documents.config
    (again,) = rebaser.plan_take("new:1", "old:1", ["/app/main.py", "models"][::-1])
    assert again.documents == plan.documents


def test_a_folder_gives_files_too(store: DiskStore, rebaser: Rebaser, tmp_path: Path) -> None:
    put(store, "old:1", {MODEL: b"one"})
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.bin").write_bytes(b"two")
    (tmp_path / "models/latest").symlink_to("a.bin")
    (plan,) = rebaser.plan_take(str(tmp_path), "old:1", ["models"])
    (layer,) = added(store, plan)
    assert sorted(layer) == ["app", "app/models", MODEL, "app/models/latest"]
    assert layer["app/models/latest"].linkname == "a.bin"
    with pytest.raises(UsageError, match="there is no other"):
        rebaser.plan_take(str(tmp_path), "old:1", ["other"])


def test_a_folder_gives_nothing_that_a_build_leaves_out(store: DiskStore, rebaser: Rebaser, tmp_path: Path) -> None:
    put(store, "old:1", {MODEL: b"one"})
    project = tmp_path / "project"
    for name in ("models/a.bin", "models/.env", "models/.git/HEAD", "models/sub/id_rsa", "models/__pycache__/a.pyc", ".env"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(b"two")
    (project / "models/ca.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "beside").write_bytes(b"not asked for")
    (plan,) = rebaser.plan_take(str(project), "old:1", ["models"])
    (layer,) = added(store, plan)
    assert sorted(layer) == ["app", "app/models", MODEL, "app/models/sub"]
    with pytest.raises(UsageError, match="looks like a secret"):
        rebaser.plan_take(str(project), "old:1", [".env"])
    for path in ("../beside", "models/../../beside", "/../beside"):
        with pytest.raises(UsageError, match="outside"):
            rebaser.plan_take(str(project), "old:1", [path])


@pytest.mark.parametrize(
    ("change", "rule", "subject"),
    [
        ({"environment": environment_files(version="1.8.0")}, "other-packages", "scikit-learn"),
        ({"environment": environment_files("3.12"), "base": base_files(python="3.12")}, "interpreter", "Python 3.11"),
    ],
)
def test_another_environment_is_refused(
    store: DiskStore, rebaser: Rebaser, change: dict[str, Files], rule: str, subject: str
) -> None:
    put(store, "old:1", {MODEL: b"one"})
    put(store, "new:1", {MODEL: b"two"}, **change)
    (plan,) = rebaser.plan_take("new:1", "old:1", ["models"])
    assert (rule, subject) in {(one.rule, one.subject) for one in plan.findings}


def test_a_model_of_modules_that_are_not_there_is_refused(store: DiskStore, rebaser: Rebaser, tmp_path: Path) -> None:
    put(store, "old:1", {MODEL: b"one"})
    raw = b"\x80\x04" + b"cxgboost.sklearn\nXGBClassifier\n" + b"."
    assert b"xgboost" in raw != pickle.dumps(1)
    (tmp_path / "a.pkl").write_bytes(raw)
    (plan,) = rebaser.plan_take(str(tmp_path), "old:1", ["a.pkl"])
    assert [(one.rule, one.subject) for one in plan.findings] == [("model-import", "a.pkl")]


def test_layers_without_end_are_refused(store: DiskStore, rebaser: Rebaser, tmp_path: Path) -> None:
    put_image(store, "old:1", [{MODEL: b"%d" % number} for number in range(127)], settings=SETTINGS)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.bin").write_bytes(b"new")
    with pytest.raises(StoreError, match="128 layers"):
        rebaser.plan_take(str(tmp_path), "old:1", ["models"])


def test_equal_files_make_no_layer(store: DiskStore, rebaser: Rebaser) -> None:
    put(store, "old:1", {MODEL: b"one"})
    put(store, "new:1", {MODEL: b"one", "app/x": b""})
    (plan,) = rebaser.plan_take("new:1", "old:1", ["models"])
    assert (plan.own, plan.moved) == ((), 0)
    assert "it is the former image" in plan.notes[-1]
    assert plan.descriptor.digest == store.resolve("old:1").digest


def test_paths_that_lie_elsewhere_or_nowhere_are_refused(store: DiskStore, rebaser: Rebaser) -> None:
    put(store, "old:1", {"app/models": link("app/models", "/data"), "data/a.bin": b"one"})
    put(store, "new:1", {MODEL: b"two"})
    for path, what in (("models", "is a link in the former"), ("none", "there is no /app/none"), ("/", "whole root")):
        with pytest.raises(UsageError, match=what):
            rebaser.plan_take("new:1", "old:1", [path])
    put(store, "other:1", {"app/models": link("app/models", "/data"), "data/a.bin": b"two"})
    with pytest.raises(UsageError, match="is a link in the new"):
        rebaser.plan_take("other:1", "new:1", ["models"])


def test_a_hard_link_is_taken_as_a_file_or_refused(store: DiskStore, rebaser: Rebaser) -> None:
    put(store, "old:1", {MODEL: b"one"})
    twin = TarEntry(path="app/models/twin", kind=EntryKind.HARDLINK, link=MODEL)
    put(store, "new:1", {MODEL: b"two", "app/models/twin": twin})
    (plan,) = rebaser.plan_take("new:1", "old:1", ["models"])
    (layer,) = added(store, plan)
    assert layer["app/models/twin"].isreg()
    assert layer["app/models/twin"].size == 3
    with pytest.raises(FormatError, match="which is not taken"):
        rebaser.plan_take("new:1", "old:1", ["models/twin"])


def test_whiteouts_and_files_in_place_of_folders(store: DiskStore, rebaser: Rebaser) -> None:
    put(store, "old:1", {"app/models/deep/a": b"", "app/models/b": b""})
    put_image(
        store,
        "new:1",
        [
            {**base_files(), "app/models/lower": b""},
            {**environment_files(), "app/models/.wh.lower": b"", "app/models/opaque/x": b""},
            {
                "app/models/opaque/.wh..wh..opq": b"",
                "app/models/opaque/y": b"",
                "app/models/deep": b"file",
                "e": directory_entry("e"),
            },
        ],
        env=OWN_ENV,
        settings=SETTINGS,
    )
    (plan,) = rebaser.plan_take("new:1", "old:1", ["models"])
    (layer,) = added(store, plan)
    assert sorted(layer) == ["app", "app/models", "app/models/.wh.b", "app/models/deep", "app/models/opaque", "app/models/opaque/y"]
    assert layer["app/models/deep"].isreg()
