"""requirements.txt: pip's grammar, and refusals that name the line and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.declare.projects import ONE, TWO, write_files
from wherry.declare.requirements import RequirementsFile, read_embedded_requirements, read_requirements
from wherry.errors import DeclarationError


def read(root: Path, text: str | bytes, env: dict[str, str] | None = None, **others: str) -> RequirementsFile:
    write_files(root, {"requirements.txt": text, **others})
    return read_requirements(root, "requirements.txt", env or {})


def texts(found: RequirementsFile) -> list[str]:
    return [requirement.text for requirement in found.requirements]


def refusal(root: Path, text: str | bytes, **others: str) -> str:
    with pytest.raises(DeclarationError) as caught:
        read(root, text, **others)
    return str(caught.value)


def test_lines_comments_continuations_hashes_and_markers(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        f"""# a head
numpy==2.1.0 \\
    --hash=sha256:{ONE} \\
    # a comment ends it
pandas [excel,sql] >= 2 , < 3 ; python_version > "3.9"   # why
Scikit_Learn  # url#fragment
name==1 --hash sha256:{ONE} --hash=sha256:{TWO}
""",
    )
    assert texts(found) == ["numpy==2.1.0", 'pandas [excel,sql] >= 2 , < 3 ; python_version > "3.9"', "Scikit_Learn", "name==1"]
    assert [requirement.name for requirement in found.requirements] == ["numpy", "pandas", "scikit-learn", "name"]
    assert found.requirements[0].hashes == (f"sha256:{ONE}",)
    assert found.requirements[3].hashes == (f"sha256:{ONE}", f"sha256:{TWO}")
    assert found.requirements[1].where == "requirements.txt:5"


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfnumpy\r\npandas",
        "numpy\r\npandas\r\n".encode("utf-16"),
        b"\xff\xfe" + "numpy\npandas".encode("utf-16-le"),
        "﻿numpy\rpandas".encode("utf-16-be"),
        "numpy\npandas".encode("utf-32"),
        "# -*- coding: latin-1 -*-\n# gr\xfc\xdfe\nnumpy\npandas".encode("latin-1"),
    ],
)
def test_encodings_and_line_ends(tmp_path: Path, data: bytes) -> None:
    assert texts(read(tmp_path, data)) == ["numpy", "pandas"]


@pytest.mark.parametrize(
    "data", [b"n\xffmpy", b"# coding: nonsense\nnumpy", b"# coding: hex\nnumpy", b"\xff\xfe\x00\xd8", b"numpy\0"]
)
def test_what_is_not_text_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "requirements.txt" in refusal(tmp_path, data)


def test_variables_are_replaced_where_they_are_set(tmp_path: Path) -> None:
    found = read(tmp_path, "--index-url https://${USER_1}:${PASS}@index.example/simple\nnumpy==${V}", {"PASS": "s3cret", "V": "2"})
    assert found.indexes.index_url == "https://${USER_1}:s3cret@index.example/simple"
    assert texts(found) == ["numpy==2"]


def test_index_options(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "-i https://index.example/simple --extra-index-url=https://more.example/simple\n"
        "--extra-index-url https://more.example/simple\n-fwheels\n--find-links 'https://files.example/a b'\n--no-index --pre\n"
        "--only-binary=:all: --prefer-binary\n--trusted-host index.example\n--no-binary h5py\n--require-hashes\n",
    )
    assert found.indexes.index_url == "https://index.example/simple"
    assert found.indexes.extra_index_urls == ("https://more.example/simple",)
    assert found.indexes.find_links == ("wheels", "https://files.example/a b")
    assert found.indexes.no_index
    assert found.indexes.pre
    assert any("--no-binary" in note for note in found.notes)


def test_nested_files_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "-r requirements/base.txt\n-c limits.txt\nrequests\n",
        **{
            "requirements/base.txt": "numpy\n-r ../extra.txt\n-rdeep/more.txt\n-f wheels",
            "extra.txt": "scipy",
            "requirements/deep/more.txt": "pandas\n--constraint ../../limits.txt",
            "limits.txt": "numpy<3\n-r more-limits.txt",
            "more-limits.txt": "scipy<2",
        },
    )
    assert texts(found) == ["numpy", "scipy", "pandas", "requests"]
    assert [constraint.text for constraint in found.constraints] == ["numpy<3", "scipy<2"]
    assert found.files[0] == "requirements.txt"
    assert set(found.files) == {
        "requirements.txt", "requirements/base.txt", "extra.txt", "requirements/deep/more.txt", "limits.txt", "more-limits.txt",
    }  # fmt: skip
    assert found.indexes.find_links == ("requirements/wheels",)


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    found = read(tmp_path, "-r a.txt\n-r b.txt", **{"a.txt": "-r c.txt", "b.txt": "-r c.txt", "c.txt": "numpy"})
    assert texts(found) == ["numpy"]


def test_files_that_name_each_other_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "-r a.txt", **{"a.txt": "\n-r requirements.txt"})
    assert "a.txt:2" in message
    assert "requirements.txt → a.txt → requirements.txt" in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-r nowhere.txt", "no such file"),
        ("-r .", "not a file"),
        ("-r https://files.example/r.txt", "network"),
        ("-r /etc/passwd", "relative"),
        ("-r", "needs a value"),
        ("--indexurl https://index.example", "unknown option --indexurl"),
        ("numpy ==", "not a requirement"),
        ("numpy==1 --frobnicate", "unknown option --frobnicate"),
        ("numpy --hash=md5:00", "sha256"),
        ("--find-links 'a", "quotation"),
        ("numpy pandas", "not a requirement"),
        ("@EXPLICIT", "conda"),
    ],
)
def test_clear_errors_name_the_line(tmp_path: Path, line: str, said: str) -> None:
    message = refusal(tmp_path, f"requests\n{line}\n")
    assert said in message
    assert "requirements.txt" in message


WHEEL = "https://files.example/tool-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{WHEEL}#sha256={ONE}", f"tool @ {WHEEL}#sha256={ONE}"),
        (f"tool @ {WHEEL}#sha256={ONE}", f"tool @ {WHEEL}#sha256={ONE}"),
        (f"tool[cli]@{WHEEL} --hash=sha256:{ONE}", f"tool[cli] @ {WHEEL}#sha256={ONE}"),
        (f"{WHEEL}#egg=tool&sha256={ONE} ; sys_platform == 'linux'", f"tool @ {WHEEL}#sha256={ONE} ; sys_platform == 'linux'"),
        (f"{WHEEL}#sha256={ONE}; sys_platform == 'linux'", f"tool @ {WHEEL}#sha256={ONE} ; sys_platform == 'linux'"),
    ],
)
def test_a_url_is_taken_when_a_sha256_pins_its_wheel(tmp_path: Path, line: str, text: str) -> None:
    found = read(tmp_path, line)
    assert texts(found) == [text]
    assert found.requirements[0].name == "tool"
    assert found.requirements[0].hashes == (f"sha256:{ONE}",)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (WHEEL, "tool"),
        (f"{WHEEL}#sha256=00", "tool"),
        (f"https://files.example/tool-1.0.tar.gz#sha256={ONE}", "tool"),
        ("git+https://git.example/team/tool.git@v1#egg=tool", "tool"),
        ("tool @ git+ssh://git@git.example/team/tool.git@v1", "tool"),
        ("git+https://git.example/team/tool.git@v1", "tool"),
        ("-e git+https://git.example/team/tool.git#egg=tool", "tool"),
        ("--editable ./libs/tool", "tool"),
        ("./libs/tool", "tool"),
        ("../tool-1.0-py3-none-any.whl", "tool"),
        ("libs/tool", "tool"),
        ("tool.whl", "tool"),
        ("file:///home/me/tool-1.0-py3-none-any.whl", "tool"),
        ("tool @ file:///tmp/build/tool", "tool"),
    ],
)
def test_what_no_digest_fixes_is_refused_by_name_with_a_way_out(tmp_path: Path, line: str, name: str) -> None:
    message = refusal(tmp_path, f"requests\n\n{line}\n")
    assert message.startswith(f"requirements.txt:3: {name}")
    assert "try:" in message


def test_all_refusals_come_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, f"-e .\n{WHEEL}\nrequests\ngit+https://git.example/a.git")
    assert "3 lines cannot be taken" in message
    assert all(f"requirements.txt:{number}:" in message for number in (1, 2, 4))
    assert message.count("try:") == 3


@pytest.mark.parametrize(
    "line",
    [
        "git+https://me:s3cret@git.example/x.git",
        "-e git+https://s3cret@git.example/",
        "https://me:s3cret@files.example/x.whl",
        "https://files.example/x.whl?sig=s3cret",
        "what is this https://me:s3cret@files.example",
        "-r https://me:s3cret@files.example/r.txt",
        "--nonsense https://me:s3cret@files.example/r.txt",
        "--index-url https://me:s3cret@index.example --nonsense",
    ],
)
def test_credentials_never_reach_a_message(tmp_path: Path, line: str) -> None:
    assert "s3cret" not in refusal(tmp_path, line)


@pytest.mark.parametrize(
    "name", ["bentoml-http", "flytekit-dev", "handson-ml2", "heroku-editable-git", "text-generation-webui.cpu_only"]
)
def test_files_of_real_projects(shared_data: Path, name: str) -> None:
    file = f"{name}.txt"
    folder = shared_data / "env" / "requirements"
    said = {
        "bentoml-http": "nested/requirements.txt: there is no such file",
        "flytekit-dev": ".: the project's own folder",
        "heroku-editable-git": "extension-dist: version control",
        "text-generation-webui.cpu_only": "6 lines cannot be taken",
    }
    if name not in said:
        assert len(read_requirements(folder, file, {}).requirements) > 20
        return
    with pytest.raises(DeclarationError) as caught:
        read_requirements(folder, file, {})
    assert said[name] in str(caught.value)


def test_real_files_are_taken_once_the_refused_lines_are_gone(tmp_path: Path, shared_data: Path) -> None:
    for file in (shared_data / "env" / "requirements").iterdir():
        lines = file.read_text("utf-8").splitlines()
        kept = [line for line in lines if not line.startswith(("-e", "-r", "http"))]
        assert read(tmp_path, "\n".join(kept)).requirements or not any(line and line[0] not in "# " for line in kept)


def test_lines_of_another_file_keep_their_numbers_there(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("pandas\n")
    entries = [(7, "numpy==1.26 # why"), (8, "--pre"), (12, "-r more.txt")]
    found = read_embedded_requirements(tmp_path, "environment.yml", entries, {})
    assert [(one.text, one.where) for one in found.requirements] == [
        ("numpy==1.26", "environment.yml:7"),
        ("pandas", "more.txt:1"),
    ]
    assert found.files == ("environment.yml", "more.txt")
    assert found.indexes.pre


def test_remote_files_are_refused_together(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r https://h.example/a.txt [--no-deps]\n-c https://u:pw@h.example/b.txt\n")
    with pytest.raises(DeclarationError, match="2 lines cannot be taken") as caught:
        read_requirements(tmp_path, "requirements.txt", {})
    assert "pw" not in str(caught.value)
    assert "requirements.txt:2" in str(caught.value)
