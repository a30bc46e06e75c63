"""An image's own layers on another base: what becomes of layers and config, and when it is refused."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.simulators.bases import AMD64, ARM64, Files
from tests.unit.check.trees import LIB, distribution, link
from tests.unit.formats.elves import make_elf
from tests.unit.rebasing_images import (
    BASE_ENV,
    LINKER,
    OWN_ENV,
    base_files,
    environment_files,
    open_store,
    put_family,
    put_image,
)
from wherry.errors import FormatError, StoreError, UsageError
from wherry.model.oci import BASE_DIGEST, BASE_NAME
from wherry.rebasing import RebasePlan, Rebaser, keep_images
from wherry.sources.registries import access_registries
from wherry.store.archive import save_image
from wherry.store.disk import DiskStore
from wherry.store.images import StoredImage, pick_image

FROM_OLD = "old:1"


@pytest.fixture
def store() -> DiskStore:
    return open_store()[0]


@pytest.fixture
def rebaser(store: DiskStore) -> Iterator[Rebaser]:
    with closing(access_registries({})) as access:
        yield Rebaser(store, open_store()[1], access)


def kept(store: DiskStore, *plans: RebasePlan) -> StoredImage:
    return pick_image(store, keep_images(store, plans, "result:1"))


def test_the_own_layers_stand_on_the_new_base(store: DiskStore, rebaser: Rebaser) -> None:
    app, new = put_family(store)
    (plan,) = rebaser.plan_rebase("app:1", "new:1", FROM_OLD)
    assert plan.findings == ()
    image = kept(store, plan)
    assert image.manifest.layers == (*new.manifest.layers, *app.manifest.layers[1:])
    assert image.config.diff_ids == (*new.config.diff_ids, *app.config.diff_ids[1:])
    assert plan.moved == new.manifest.layers[0].size + len(image.manifest.raw) + len(image.config.raw)
    steps = [entry.created_by.split()[0] for entry in image.config.history]
    assert steps == ["new:1", "ENV", "app:1", "app:1", "ENV"]
    assert image.manifest.annotations[BASE_DIGEST] == str(new.manifest.digest)
    assert BASE_NAME not in image.manifest.annotations
    document = json.loads(image.config.raw)
    assert (document["author"], document["config"]["Healthcheck"]) == ("somebody", {"Test": ["NONE"]})
    assert (image.config.cmd, image.config.workdir) == (("python", "/app/main.py"), "/app")
    assert set(image.config.env) == {"PATH=/opt/env/bin:/usr/local/bin:/usr/bin", "LANG=C.UTF-8", "BASE=2", "OWN=yes"}


def test_equal_images_give_one_digest(store: DiskStore, rebaser: Rebaser) -> None:
    put_family(store)
    first, second = (rebaser.plan_rebase("app:1", "new:1", FROM_OLD)[0].descriptor for _ in range(2))
    assert first == second


def test_back_onto_the_former_base_it_is_what_it_was(store: DiskStore, rebaser: Rebaser) -> None:
    app, _ = put_family(store)
    there = keep_images(store, rebaser.plan_rebase("app:1", "new:1", FROM_OLD), "there:1")
    store.tag("there:1", there)
    (plan,) = rebaser.plan_rebase("there:1", "old:1")  # the annotation says on what it stands
    again, before = json.loads(plan.documents.config), json.loads(app.config.raw)
    assert {**again, "history": 0} == {**before, "history": 0}


def test_settings_that_the_image_had_from_its_base_become_the_new_ones(store: DiskStore, rebaser: Rebaser) -> None:
    base = {"User": "root", "Entrypoint": ["/a"], "Cmd": ["x"], "Labels": {"v": "1", "same": "s"}, "StopSignal": "SIGTERM"}
    put_image(store, "old:1", [base_files()], settings=base)
    own = {**base, "User": "app", "Labels": {**base["Labels"], "own": "o"}}  # type: ignore[dict-item]
    put_image(store, "app:1", [base_files(), {"app/x": b""}], settings=own)
    new = {"User": "0", "Entrypoint": ["/b"], "Cmd": ["y"], "Labels": {"v": "2"}, "StopSignal": "SIGINT"}
    put_image(store, "new:1", [base_files("2.37")], settings=new)
    (plan,) = rebaser.plan_rebase("app:1", "new:1", FROM_OLD)
    settings = json.loads(plan.documents.config)["config"]
    assert settings["User"] == "app"
    assert settings["Labels"] == {"v": "2", "own": "o"}
    assert (settings["Entrypoint"], settings["Cmd"], settings["StopSignal"]) == (["/b"], ["y"], "SIGINT")


@pytest.mark.parametrize(
    ("own", "new_base", "rule", "subject"),
    [
        (environment_files(), {"libraries": ()}, "missing-library", "libgomp.so.1"),
        (environment_files(needs="GLIBC_2.36"), {"glibc": "2.31"}, "symbol-version", "GLIBC_2.36"),
        (environment_files(), {"python": "3.12"}, "interpreter", "Python 3.11"),
        ({"opt/tool": make_elf(["libgomp.so.1"], interpreter=LINKER)}, {"libraries": ()}, "missing-library", "libgomp.so.1"),
        (
            {**environment_files(), "opt/env/bin/python": link("opt/env/bin/python", "/usr/bin/python3")},
            {"python": "3.12"},
            "interpreter",
            "Python 3.11",
        ),
    ],
)
def test_what_no_longer_fits_is_refused(
    store: DiskStore, rebaser: Rebaser, own: Files, new_base: dict[str, str], rule: str, subject: str
) -> None:
    put_family(store, own, **new_base)
    (plan,) = rebaser.plan_rebase("app:1", "new:1", FROM_OLD)
    assert (rule, subject) in {(one.rule, one.subject) for one in plan.findings}
    (still,) = rebaser.plan_rebase("app:1", "old:1", FROM_OLD)
    assert still.findings == ()


def test_a_defect_of_before_is_no_reason_to_refuse(store: DiskStore, rebaser: Rebaser) -> None:
    broken = {
        **environment_files(),
        **distribution("extra", "1", {"extra.so": make_elf(["libnone.so.7"], exports=["PyInit_extra"])}),
    }
    put_family(store, broken, glibc="2.37")
    assert rebaser.plan_rebase("app:1", "new:1", FROM_OLD)[0].findings == ()


def test_another_linker_is_named_with_the_file_that_needs_it(store: DiskStore, rebaser: Rebaser) -> None:
    put_family(store, {"opt/tool": make_elf(["libc.so.6"], interpreter=LINKER)})
    put_image(store, "musl:1", [{"lib/libc.musl-x86_64.so.1": make_elf(soname="libc.musl-x86_64.so.1")}])
    (plan,) = rebaser.plan_rebase("app:1", "musl:1", FROM_OLD)
    (finding,) = [one for one in plan.findings if one.rule == "missing-library"]
    assert (finding.subject, finding.where) == (LINKER, ("/opt/tool",))


def test_what_the_container_starts_must_be_there(store: DiskStore, rebaser: Rebaser) -> None:
    put_image(store, "old:1", [{"usr/bin/serve": b"#!/bin/sh"}])
    put_image(store, "app:1", [{"usr/bin/serve": b"#!/bin/sh"}, {"app/x": b""}], settings={"Entrypoint": ["serve"]})
    put_image(store, "new:1", [{"etc/x": b""}])
    (plan,) = rebaser.plan_rebase("app:1", "new:1", FROM_OLD)
    assert [(one.rule, one.subject) for one in plan.findings] == [("start-command", "serve")]


def test_how_the_former_base_is_told(store: DiskStore, rebaser: Rebaser) -> None:
    app, _ = put_family(store)
    with pytest.raises(UsageError, match="nothing tells"):
        rebaser.plan_rebase("app:1", "new:1")
    with pytest.raises(UsageError, match="not the lowest"):
        rebaser.plan_rebase("app:1", "new:1", "new:1")
    layers = [base_files(), environment_files(), {"app/main.py": b"print()\n", "app/models/a.bin": b"one"}]
    old = pick_image(store, store.resolve("old:1"))
    put_image(store, "app:2", layers, env=OWN_ENV, annotations={BASE_NAME: "old", BASE_DIGEST: str(old.manifest.digest)})
    assert len(rebaser.plan_rebase("app:2", "new:1")[0].own) == 2
    steps = ["wherry layer base base", "wherry layer interpreter python", "wherry layer wheels wheels", "wherry layer code code"]
    put_image(store, "app:3", [base_files(), {"usr/x": b""}, environment_files(), {"app/x": b""}], env=BASE_ENV, steps=steps)
    assert len(rebaser.plan_rebase("app:3", "new:1")[0].own) == 2
    put_image(store, "bare:1", [{k: v for k, v in base_files().items() if "python" not in k}])
    python = {k: v for k, v in base_files().items() if "python" in k}
    put_image(store, "app:4", [{**base_files(), **dict.fromkeys(python, b"")}, python, environment_files()], steps=steps[:3])
    (plan,) = rebaser.plan_rebase("app:4", "bare:1")
    assert len(plan.own) == 2, "a base without Python leaves the interpreter to the image"
    assert any(note.startswith("it keeps its own Python; with the new base's: ") for note in plan.notes)
    put_image(store, "app:5", [base_files(), {"x": b""}])
    put_image(store, "new:5", [base_files(), {"y": b""}])
    (plan,) = rebaser.plan_rebase("app:5", "new:5")
    assert (len(plan.own), len(plan.notes)) == (1, 1)
    assert app.manifest.layers[0] == old.manifest.layers[0]


def test_bytecode_of_the_former_standard_library_stays_behind(store: DiskStore, rebaser: Rebaser) -> None:
    kinds = ["base base", "interpreter python", "wheels wheels", "bytecode bytecode-python", "bytecode bytecode-wheels"]
    layers = [base_files(), {"usr/x": b""}, environment_files(), {"usr/lib/python3.11/x.pyc": b"old"}, {"opt/env/y.pyc": b""}]
    app = put_image(store, "app:1", layers, env=BASE_ENV, steps=[f"wherry layer {kind}" for kind in kinds])
    put_image(store, "new:1", [{**base_files("2.37"), "usr/lib/python3.11/x.pyc": b"new"}])
    (plan,) = rebaser.plan_rebase("app:1", "new:1")
    assert plan.own == (app.manifest.layers[2], app.manifest.layers[4])
    assert (plan.findings, plan.notes) == ((), ())
    assert [entry.created_by for entry in kept(store, plan).config.history[2:]] == [
        *(f"wherry layer {kinds[at]}" for at in (2, 4)),
        "ENV",
    ]


def test_another_platform_is_refused_and_several_make_an_index(store: DiskStore, rebaser: Rebaser) -> None:
    put_family(store)
    put_image(store, "arm:1", [{"x": b""}], platform=ARM64)
    with pytest.raises(StoreError, match="no image for linux/amd64"):
        rebaser.plan_rebase("app:1", "arm:1", FROM_OLD)
    (plan,) = rebaser.plan_rebase("app:1", "new:1", FROM_OLD)
    other = RebasePlan(platform=ARM64, documents=plan.documents, layers=3, own=plan.own, moved=0, findings=(), notes=())
    index = keep_images(store, (plan, other), "both:1")
    assert json.loads(store.read_bytes(index.digest))["manifests"][0]["digest"] == str(plan.descriptor.digest)
    assert AMD64 != ARM64


def test_files_of_the_new_base_that_are_hidden_are_told(store: DiskStore, rebaser: Rebaser) -> None:
    own = {**environment_files(), f"{LIB}/libcurl.so.4": make_elf(soname="libcurl.so.4")}
    put_family(store, own, libraries=("libgomp.so.1", "libcurl.so.4"))
    (plan,) = rebaser.plan_rebase("app:1", "new:1", FROM_OLD)
    assert plan.notes == (f"1 files of the new base are hidden by the image's own: /{LIB}/libcurl.so.4",)


def test_archives_and_layouts_leave_no_names_behind(store: DiskStore, rebaser: Rebaser, tmp_path: Path) -> None:
    put_family(store, libraries=("libgomp.so.1", "libmore.so.1"))
    named = rebaser.plan_rebase("app:1", "new:1", FROM_OLD)[0].descriptor
    for name in ("app:1", "new:1", "old:1"):
        with (tmp_path / f"{name}.tar").open("wb") as file:
            save_image(store, store.resolve(name), file.write, name=name, form="oci")
    with tarfile.open(tmp_path / "new:1.tar") as archive:
        archive.extractall(tmp_path / "layout", filter="data")
    before = dict(store.names())
    store.untag("old:1")
    store.tag("app:1", before["new:1"])
    files = [str(tmp_path / name) for name in ("app:1.tar", "layout", "old:1.tar")]
    assert rebaser.plan_rebase(*files)[0].descriptor == named
    assert {name: one.digest for name, one in store.names().items()} == dict.fromkeys(("app:1", "new:1"), before["new:1"].digest)
    (tmp_path / "layout/index.json").write_bytes(b"{}")
    with pytest.raises(FormatError):
        rebaser.plan_rebase(*files)
    blob = next((tmp_path / "layout/blobs/sha256").iterdir())
    blob.unlink()
    blob.symlink_to("/etc/passwd")
    with pytest.raises(FormatError):
        rebaser.plan_rebase(*files)


def test_bytecode_of_other_layers_is_not_found(store: DiskStore, rebaser: Rebaser, tmp_path: Path) -> None:
    from wherry.model.python_cache import name_cache_of

    app, _ = put_family(store)
    own = f"PYTHONPYCACHEPREFIX=/var/cache/python/{name_cache_of(app.config)}"
    layers = [base_files(), environment_files(), {"app/main.py": b"print()\n", "app/models/a.bin": b"one"}]
    put_image(store, "app:1", layers, env=(*OWN_ENV, own))
    (plan,) = rebaser.plan_rebase("app:1", "new:1", FROM_OLD)
    image = kept(store, plan)
    assert f"PYTHONPYCACHEPREFIX=/var/cache/python/{name_cache_of(image.config)}" in image.config.env
    assert own not in image.config.env
