"""What tasks print, read along from the store alone."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.unit.run.backend_contract import wait_until
from tests.unit.run.sweeps import Crew, make_state
from wherry.run.sweep_logs import LogReader, Printed


def told(printed: list[Printed]) -> dict[tuple[int, int, str], bytes]:
    found: dict[tuple[int, int, str], bytes] = {}
    for one in printed:
        place = (one.task, one.attempt, one.stream)
        found[place] = found.get(place, b"") + one.data
    return found


def test_each_byte_once_while_they_run_and_after(tmp_path: Path) -> None:
    script = f"echo begin {{i}}; echo oh >&2; while ! test -e {tmp_path}/go; do sleep 0.02; done; echo end {{i}}"
    state = make_state(tmp_path, script, 2)
    crew = Crew(state, tmp_path / "scratch")
    reader, printed = LogReader(state, range(2)), list[Printed]()
    worker = threading.Thread(target=crew.work)
    worker.start()
    assert wait_until(lambda: bool(printed.extend(reader.read())) or len(told(printed)) == 4)
    assert not reader.is_over
    (tmp_path / "go").touch()
    worker.join()
    printed.extend(reader.read())
    assert reader.is_over
    assert told(printed) == {
        (task, 0, stream): text
        for task in range(2)
        for stream, text in (("stdout", b"begin %d\nend %d\n" % (task, task)), ("stderr", b"oh\n"))
    }
    assert [*reader.read()] == []


def test_of_one_task_and_of_the_attempt_that_counts(tmp_path: Path) -> None:
    script = f"echo {{i}} try; echo >> {tmp_path}/ran-{{i}}; test $(wc -l < {tmp_path}/ran-{{i}}) = 2"
    state = make_state(tmp_path, script, 3, retries=1)
    Crew(state, tmp_path / "scratch").work()
    assert told([*LogReader(state, (1,)).read()]) == {(1, 1, "stdout"): b"1 try\n"}
