"""`wherry check --html`: one page that says what is wrong and what the bytes are, whatever the names in the image are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer

from tests.unit.check.trees import distribution, system
from tests.unit.cli.test_check import BROKEN, check, store_image
from tests.unit.cli.test_check import app as app
from tests.unit.formats.test_html_page import read
from wherry.errors import CheckError, StoreError, UsageError

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def test_findings_and_sizes_in_one_file(app: typer.Typer, page: Path) -> None:
    heavy = distribution("heavy", "1", {"heavy.py": os.urandom(40_000), "heavy/tests/data": os.urandom(60_000)})
    store_image(system(), {**BROKEN, **heavy})
    check(app, "tiny", "--html", page, "--size-budget", "50 kB", code=CheckError.exit_code)
    found = read(page.read_text())
    for told in ("2 errors", "libGL.so.1 is not there: import cv2 fails", "missing-library", "What could go", "tests of packages"):
        assert told in found.text
    assert "over the budget of 50.0 kB" in found.text
    assert found.tags.count("table") == 3
    assert found.tags.count("h1") == 1
    links = {str(value)[1:] for name, value in found.attributes if name == "href"}
    assert links <= {value for name, value in found.attributes if name == "id"}
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert not [value for name, value in found.attributes if name == "src"]


def test_the_same_image_gives_the_same_page(app: typer.Typer, tmp_path: Path) -> None:
    store_image(system(), BROKEN)
    for name in ("a", "b"):
        check(app, "tiny", "--html", tmp_path / name, code=CheckError.exit_code)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_hostile_names_stay_names(app: typer.Typer, page: Path, tmp_path: Path) -> None:
    layer = {f"app/{EVIL}/id_rsa": b"not empty", f"app/\u202e{EVIL}.py": b"x" * 9000, "etc/os-release": b"ID=x\n"}
    store_image(system(), {**distribution(EVIL.replace("/", ""), "1", {"evil.py": b"x" * 5000}), **layer})
    check(app, "tiny", "--html", page)
    found = read(page.read_text())
    assert "img" not in found.tags
    assert EVIL in found.text
    assert "\u202e" not in page.read_text()
    assert not [name for name, _ in found.attributes if name.startswith("on")]


def test_an_environment_and_a_wheel_have_pages_too(app: typer.Typer, page: Path, tmp_path: Path) -> None:
    site = tmp_path / "venv/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (site / "big.py").write_bytes(b"x" * 5000)
    check(app, tmp_path / "venv", "--html", page, "--ignore", "no-interpreter", "--ignore", "empty-environment")
    found = read(page.read_text())
    assert "to pull" not in found.text
    assert "on disk" in found.text
    assert "By layer" not in found.text


def test_what_is_accepted_stands_there_with_its_reason(app: typer.Typer, page: Path, tmp_path: Path) -> None:
    project = tmp_path / "tiny"
    project.mkdir()
    (project / "requirements.txt").write_text("six\n")
    (project / "wherry.toml").write_text(f"[[check.ignore]]\nrule = 'missing-library'\nreason = '{EVIL}'\n")
    store_image(system(), BROKEN)
    check(app, project, "--html", page)
    found = read(page.read_text())
    assert "Nothing found." in found.text
    assert "Accepted" in found.text
    assert EVIL in found.text


def test_a_page_that_cannot_be_written(app: typer.Typer, tmp_path: Path) -> None:
    store_image(system())
    with pytest.raises(StoreError, match="cannot be written"):
        check(app, "tiny", "--html", tmp_path / "no" / "such" / "folder.html")
    with pytest.raises(UsageError, match="nothing else"):
        check(app, "tiny", "--rebuild", "--html", tmp_path / "x.html")


def test_what_is_drawn_has_its_line_however_much_there_is(app: typer.Typer, page: Path) -> None:
    many = [distribution(f"pkg{number:03}", "1", {f"p{number:03}.py": b"x" * (50 + number * 9)}) for number in range(150)]
    store_image({**system(), **{path: content for one in many for path, content in one.items()}})
    check(app, "tiny", "--html", page)
    found = read(page.read_text())
    links = {str(value)[1:] for name, value in found.attributes if name == "href"}
    assert len(links) > 20
    assert links <= {value for name, value in found.attributes if name == "id"}
    assert "others, all small" in found.text
