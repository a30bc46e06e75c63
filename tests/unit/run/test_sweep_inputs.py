"""Declared inputs, as tasks of a sweep find them, and who is to blame where they do not."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.link import LinkSimulator
from tests.simulators.web import WebSimulator
from tests.unit.run.sweeps import Crew, make_state
from wherry.model.job import JobState
from wherry.model.sweep import SweepInput
from wherry.run.sweep_inputs import NO_INPUT, TaskInputs

SHOW = 'cd "$WHERRY_INPUTS" && find -type f | sort | xargs cat'


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_crew(tmp_path: Path, script: str, *inputs: SweepInput, tasks: int = 2, **more: Any) -> Crew:
    """Workers that bring inputs to a cache of their own."""
    crew = Crew(make_state(tmp_path, script, tasks=tasks, inputs=inputs, **more), tmp_path / "scratch")
    crew.inputs = TaskInputs(crew.state.read_spec().sweep, tmp_path / "cache", os.environ, crew.stop)
    return crew


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    (folder / "all/sub").mkdir(parents=True)
    for name, text in {"one": "one\n", "fold-0": "zero\n", "fold-1": "first\n", "all/a": "a\n", "all/sub/b": "b\n"}.items():
        (folder / name).write_text(text)
    return folder


def test_a_file_a_folder_and_one_for_each_task(tmp_path: Path, shelf: Path) -> None:
    inputs = (
        SweepInput(source=f"file://{shelf}/one", target="data/one", digests=(("one", digest(b"one\n")),)),
        SweepInput(source=f"file://{shelf}/all/", target="all"),
        SweepInput(source=f"file://{shelf}/fold-{{i}}", target="fold"),
    )
    crew = make_crew(tmp_path, SHOW, *inputs)
    assert crew.work(), crew.errors
    assert [crew.text(task) for task in (0, 1)] == ["a\nb\none\nzero\n", "a\nb\none\nfirst\n"]
    done = crew.state.read_done(1)
    assert done is not None
    lines = f"{digest(b'a' + bytes([10]))}  a\n{digest(b'b' + bytes([10]))}  sub/b\n"
    assert [(one.path, one.size, one.sha256) for one in done.inputs] == [
        ("data/one", 4, digest(b"one\n")),
        ("all", 4, digest(lines.encode())),
        ("fold", 6, digest(b"first\n")),
    ]
    assert done.inputs[2].address == f"file://{shelf}/fold-1"
    assert not list((tmp_path / "cache" / "views").iterdir())


def test_tasks_and_workers_share_one_download(tmp_path: Path) -> None:
    with WebSimulator({"/one": b"x" * 100_000}) as web:
        source = f"http://127.0.0.1:{web.address[1]}/one"
        crew = make_crew(tmp_path, 'wc -c < "$WHERRY_INPUTS/one"', SweepInput(source=source, target="one"), tasks=8)
        other = Crew(crew.state, tmp_path / "scratch")
        other.inputs = TaskInputs(crew.state.read_spec().sweep, tmp_path / "cache", os.environ, other.stop)
        workers = [threading.Thread(target=one.work, args=(name,)) for one, name in ((crew, "w1"), (other, "w2"))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert crew.errors + other.errors == []
        assert [crew.text(task) for task in range(8)] == ["100000\n"] * 8
        assert [seen.range for seen in web.seen].count("bytes=0-99999") == 1
        assert len(web.seen) <= 5  # a look for each of the four slots at most, and the object


def test_they_are_there_to_be_read(tmp_path: Path, shelf: Path) -> None:
    script = 'stat -c %a "$WHERRY_INPUTS/one"'
    crew = make_crew(tmp_path, script, SweepInput(source=f"file://{shelf}/one", target="one"), tasks=1)
    crew.work()
    assert crew.text(0) == "444\n"


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (SweepInput(source="file:///nowhere/x", target="x"), "no such object"),
        (SweepInput(source="file://SHELF/empty/", target="x"), "nothing lies there"),
        (SweepInput(source="file://SHELF/one", target="x", digests=(("one", "0" * 64),)), "digest"),
        (SweepInput(source="file://SHELF/fold-{i}", target="x", digests=(("fold-7", "0" * 64),)), "has no fold-0"),
        (SweepInput(source="az://data/{i}?sig=hunter2", target="x"), "does not belong"),
    ],
)
def test_an_input_that_is_wrong_fails_its_task(tmp_path: Path, shelf: Path, one: SweepInput, says: str) -> None:
    (shelf / "empty").mkdir()
    crew = make_crew(
        tmp_path, "echo ran", SweepInput(source=one.source.replace("SHELF", str(shelf)), target="x", digests=one.digests)
    )
    crew.work()
    done = crew.state.read_done(0)
    assert crew.errors == []
    assert done is not None
    assert (done.state, done.exit_code) == (JobState.FAILED, NO_INPUT)
    assert crew.text(0) is None
    assert says in (crew.text(0, "stderr") or "")
    assert "hunter2" not in (crew.text(0, "stderr") or "")


def test_a_wrong_digest_is_downloaded_once_and_not_again(tmp_path: Path) -> None:
    with WebSimulator({"/one": b"x" * 1000}) as web:
        one = SweepInput(source=f"http://127.0.0.1:{web.address[1]}/one", target="one", digests=(("one", "0" * 64),))
        crew = make_crew(tmp_path, "true", one, tasks=5, retries=2)
        crew.work(slots=1)
        assert [done.state for done in crew.state.read_ends().values()] == [JobState.FAILED] * 5
        assert len(web.seen) == 2


def test_no_access_is_trouble_of_the_machine(tmp_path: Path) -> None:
    with WebSimulator({}) as web:
        web.manners.status = 403
        crew = make_crew(tmp_path, "true", SweepInput(source=f"http://127.0.0.1:{web.address[1]}/one", target="one"))
        crew.work()
    assert ["no access" in str(error) for error in crew.errors] == [True]
    assert crew.state.read_ends() == {}
    beat = crew.state.read_beat(crew.name("w1"))
    assert beat is not None
    assert "no access" in (beat.trouble or "")


def test_a_full_disk_fails_no_task(tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wherry.store.part_file.reserve_space", refuse)
    crew = make_crew(tmp_path, "true", SweepInput(source=f"file://{shelf}/one", target="one"))
    crew.work()
    assert ["disk is full" in str(error) and "WHERRY_CACHE" in str(error) for error in crew.errors] == [True]
    assert crew.state.read_ends() == {}


def test_a_long_download_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.run.sweep_inputs._TELL", 0.0)
    said: list[str] = []
    with WebSimulator({"/one": b"x" * 300_000}) as web, LinkSimulator(web.address) as link:
        link.weather.rate = 300_000
        one = SweepInput(source=f"http://127.0.0.1:{link.port}/one", target="one")
        crew = make_crew(tmp_path, "true", one, tasks=1)
        crew.inputs = TaskInputs(crew.state.read_spec().sweep, tmp_path / "cache", {}, crew.stop, said.append)
        crew.work()
    assert crew.errors == []
    assert re.fullmatch(r"http://127.0.0.1:\d+/one: 0 of 0 MB, 0 MB/s over \d+ connections", said[0])


def test_stopping_ends_a_download(tmp_path: Path) -> None:
    with WebSimulator({"/one": b"x"}) as web:
        web.manners.status = 503
        crew = make_crew(tmp_path, "true", SweepInput(source=f"http://127.0.0.1:{web.address[1]}/one", target="one"))
        worker = threading.Thread(target=crew.work)
        worker.start()
        while not web.seen:
            worker.join(0.01)
        crew.stop.give()
        worker.join()
    assert crew.errors == []
    assert crew.state.read_ends() == {}


def test_names_that_lead_out_of_their_folder(tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "wherry.store.object_sources.ObjectSources.list_folder", lambda _self, _address: iter(["a", "../../escape"])
    )
    crew = make_crew(tmp_path, "true", SweepInput(source=f"file://{shelf}/all/", target="all"), tasks=1)
    crew.work()
    assert "escape" in (crew.text(0, "stderr") or "")
    assert not list(tmp_path.rglob("escape"))
