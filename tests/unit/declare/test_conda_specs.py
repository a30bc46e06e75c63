"""Conda's match specs, Python's support, and selectors in comments."""

from __future__ import annotations

import pytest

from wherry.declare.conda_selectors import SUBDIRS, read_selector
from wherry.declare.conda_specs import check_python, parse_spec
from wherry.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("numpy", "numpy"),
        ("NumPy=1.2", "numpy"),
        ("numpy =1.2", "numpy"),
        ("numpy 1.2.*", "numpy"),
        ("numpy>=1.14.3", "numpy"),
        ("numpy >= 1.2 , < 2", "numpy"),
        ("numpy>=1.21.6,<=1.23.5", "numpy"),
        ("numpy!=1.5|>2", "numpy"),
        ("numpy ~=1.2", "numpy"),
        ("python >=3.8,<3.10.0a0", "python"),
        ("_libgcc_mutex=0.1=main", "_libgcc_mutex"),
        ("openssl=1.1.1l=h7f8727e_0", "openssl"),
        ("sphinx_rtd_theme 1.2 *_0", "sphinx_rtd_theme"),
        ("jaxlib>=0.4.31=cuda12*", "jaxlib"),
        ("python=3.8=*_cpython", "python"),
        ("cudatoolkit >=11,<12", "cudatoolkit"),
        ("pytorch::pytorch=1.11.0", "pytorch"),
        ("conda-forge/label/dev::numpy", "numpy"),
        ("conda-forge/linux-64::numpy=1=py_0", "numpy"),
        ("numpy[version='>=1.2', build=py*]", "numpy"),
        ('numpy[version=">=1.2,<2"]', "numpy"),
        ("libgcc-ng  9.3.0   h5101ec6_17", "libgcc-ng"),
        ("tzdata=2021e=hda174b7_0", "tzdata"),
        ("ruby=^3.*$", "ruby"),
        ("scipy==1.0.0b1  # why", "scipy"),
    ],
)
def test_specs_as_people_write_them(text: str, name: str) -> None:
    spec = parse_spec(text, "environment.yml:3")
    assert (spec.name, spec.where, spec.subdirs) == (name, "environment.yml:3", ())
    assert spec.text == " ".join(text.split("#")[0].split())


def test_py_rattler_reads_them_too() -> None:
    rattler = pytest.importorskip("rattler")
    for text in ("numpy >= 1.2 , < 2", "jaxlib>=0.4.31=cuda12*", "conda-forge/linux-64::numpy=1=py_0", "python=3.8=*_cpython"):
        rattler.MatchSpec(parse_spec(text, "x").text, strict=False)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("", "not a package", "numpy"),
        ("numpy=", "not a package", "numpy"),
        ("numpy>=1.2,", "not a package", "numpy"),
        ("numpy >= ", "not a package", "numpy"),
        ("numpy==1.2=py/0", "not a package", "numpy"),
        ("numpy)1", "not a package", "numpy"),
        ("nu*py", "not a package", "numpy"),
        (f"numpy {'(' * 600}>=1{')' * 600}", "has 1,209 characters", "numpy"),
        ("n" * 100_000, "nnn… has 100,000 characters", "numpy"),
        ("uvicorn[standard]", "pip's extras", "uvicorn[standard] below pip:"),
        ("pywin32; sys_platform == 'win32'", "markers are pip's", "[win]"),
        ("git+https://me:s3cret@git.example/x.git", "an address", "pip:"),
        ("https://me:s3cret@files.example/x-1-py3-none-any.whl", "an address", "pip:"),
        ("-e .", "an address, a path or an option", "pip:"),
        ("./libs/x", "an address, a path or an option", "pip:"),
    ],
)
def test_what_is_no_spec_has_a_way_out(text: str, said: str, hint: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_spec(text, "environment.yml:3")
    assert caught.value.where == "environment.yml:3"
    assert said in caught.value.what
    assert hint in (caught.value.hint or "")
    assert "s3cret" not in str(caught.value)


def test_a_channel_in_a_spec_loses_its_login() -> None:
    spec = parse_spec("https://me:s3cret@conda.example/t/tk-123/inner::numpy=1", "x")
    assert spec.text == "https://conda.example/inner::numpy=1"


@pytest.mark.parametrize(
    ("text", "only", "noted"),
    [
        ("python", None, False),
        ("python=3.11", "3.11", False),
        ("python=3.11.0", "3.11", False),
        ("python 3.12.*", "3.12", False),
        ("python==3.12", "3.12", False),
        ("python>=3.10,<3.11", "3.10", False),
        ("python >=3.10, <3.12", None, False),
        ("python=3.9|3.9.5", "3.9", True),
        ("python=3.8.5", "3.8", True),
        ("python>=3.8", None, False),
        ("python=3.11=*_cpython", "3.11", False),
        ("python>3.5,<3.9", None, True),
        ("conda-forge::python=3.13", "3.13", False),
        ("python[version='>=3']", None, False),
    ],
)
def test_which_python_a_spec_asks_for(text: str, only: str | None, noted: bool) -> None:
    pythons, note = check_python(parse_spec(text, "environment.yml:3"))
    assert (pythons.only, note is not None) == (only, noted)


@pytest.mark.parametrize(
    ("text", "ended"), [("python=3.5.2", "September 2020"), ("python<3", "January 2020"), ("python=3.7", "June 2023")]
)
def test_a_python_long_out_of_support_is_refused(text: str, ended: str) -> None:
    with pytest.raises(DeclarationError, match=ended) as caught:
        check_python(parse_spec(text, "environment.yml:3"))
    assert (caught.value.where, "python>=3.8" in (caught.value.hint or "")) == ("environment.yml:3", True)


@pytest.mark.parametrize(
    ("rest", "inside", "outside"),
    [
        ("  # [linux]", {"linux-64", "linux-aarch64"}, {"osx-64", "win-64"}),
        (" #[linux64] because", {"linux-64"}, {"linux-aarch64", "osx-64"}),
        ("  # [linux-aarch64]", {"linux-aarch64"}, {"linux-64"}),
        ("  # [not win]", {"linux-64", "osx-arm64"}, {"win-64"}),
        ("  # [osx or (linux and not aarch64)]", {"osx-64", "linux-64"}, {"linux-aarch64", "win-64"}),
        ("  # [arm64]", {"osx-arm64"}, {"linux-aarch64"}),
        ("  # [win and linux]", set(), set(SUBDIRS)),
    ],
)
def test_selectors(rest: str, inside: set[str], outside: set[str]) -> None:
    chosen = set(read_selector(rest))
    assert chosen
    assert chosen >= inside
    assert not chosen & outside


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "  # needed",
        " # [py>=37]",
        "# [unix or not unix]",
        "# [linux",
        "# see [linux]",
        "# [__import__('os')]",
        "# [(" + "(" * 150 + "]",
    ],
)
def test_other_comments_say_nothing(rest: str) -> None:
    assert read_selector(rest) == ()
