"""Tasks of a sweep in a worker: what is kept of each, and what of many attempts counts."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.unit.run.backend_contract import ASLEEP, stands_still, wait_until
from tests.unit.run.sweeps import NAME, Crew, make_state
from wherry.errors import EngineError
from wherry.model.job import Limits
from wherry.model.sweep import Beat, Lease, Running
from wherry.run.sweep_launch import Attempt, Begun


def states(crew: Crew) -> dict[int, tuple[str, int | None]]:
    return {task: (done.state.value, done.exit_code) for task, done in sorted(crew.state.read_ends().items())}


def test_what_is_kept_of_a_task(tmp_path: Path) -> None:
    script = (
        'echo out {i} $WHERRY_JOB $WHERRY_TASK; echo err >&2; cd "$WHERRY_OUTPUTS"; mkdir "a b"; echo model > "a b/.m"; '
        'echo \'{"metric": "loss", "value": 0.5}\' >> "$WHERRY_METRICS"; ln -s /etc/passwd "$WHERRY_OUTPUTS/link"; exit {i}'
    )
    crew = Crew(make_state(tmp_path, script.replace('{"', '{{"').replace("}'", "}}'")), tmp_path / "scratch")
    beat = crew.work()
    assert beat is not None
    assert (beat.done, beat.running, beat.trouble) == (3, (), None)
    assert states(crew) == {0: ("succeeded", 0), 1: ("failed", 1), 2: ("failed", 2)}
    assert (crew.text(1), crew.text(1, "stderr")) == (f"out 1 {NAME} 1\n", "err\n")
    assert crew.text(2, "outputs/a b/.m") == "model\n"
    done = crew.state.read_done(2)
    assert done is not None
    assert ([output.path for output in done.outputs], done.metrics) == (["a b/.m"], {"loss": 0.5})
    assert not (tmp_path / "scratch/w1").exists()


def test_a_finished_task_is_never_run_again(tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, f"echo >> {tmp_path}/ran", tasks=4), tmp_path / "scratch")
    crew.work(indices=(0, 1))
    crew.work("w2")
    crew.work("w3")
    assert (tmp_path / "ran").read_text() == "\n" * 4


def test_of_many_workers_one_has_each_task(tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, f"echo {{i}} >> {tmp_path}/ran", tasks=40), tmp_path / "scratch")
    threads = [threading.Thread(target=crew.work, args=(f"w{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(40))
    assert crew.errors == []


def test_75_is_tried_again_and_other_failures_are_not(tmp_path: Path) -> None:
    script = (
        f'echo >> "{tmp_path}/ran-{{i}}"; test {{i}} = 0 -a $(wc -l < "{tmp_path}/ran-0") -gt 2 && exit 0; exit $((75 + {{i}}))'
    )
    crew = Crew(make_state(tmp_path, script, tasks=2), tmp_path / "scratch")
    crew.work()
    assert states(crew) == {0: ("succeeded", 0), 1: ("failed", 76)}
    done = crew.state.read_done(0)
    assert done is not None
    assert (done.attempt, (tmp_path / "ran-1").read_text()) == (2, "\n")


def test_retries_are_what_the_author_says(tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, f"echo >> {tmp_path}/ran; exit 3", tasks=1, retries=2), tmp_path / "scratch")
    crew.work()
    assert ((tmp_path / "ran").read_text(), states(crew)) == ("\n" * 3, {0: ("failed", 3)})


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    state = make_state(tmp_path, "no-such-program-{i}", tasks=1)
    crew = Crew(state, tmp_path / "scratch")
    crew.work()
    assert states(crew) == {0: ("failed", 127)}
    assert "not found" in (crew.text(0, "stderr") or "")


def test_time_is_up_for_all_that_it_started(tmp_path: Path) -> None:
    script = f'trap "" TERM; (setsid sh -c "while :; do echo >> {tmp_path}/beat; sleep 0.02; done" &) ; {ASLEEP}'
    crew = Crew(make_state(tmp_path, script, tasks=1, limits=Limits(seconds=0.5)), tmp_path / "scratch")
    crew.work()
    assert states(crew) == {0: ("timed-out", 124)}
    assert stands_still(tmp_path / "beat")


def test_what_a_task_leaves_behind_is_ended(tmp_path: Path) -> None:
    script = f"(while :; do echo >> {tmp_path}/beat; sleep 0.02; done) & while ! test -e {tmp_path}/beat; do sleep 0.02; done"
    crew = Crew(make_state(tmp_path, script, tasks=1), tmp_path / "scratch")
    crew.work()
    assert states(crew) == {0: ("succeeded", 0)}
    assert stands_still(tmp_path / "beat")


def test_too_much_is_printed(tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, "echo begin; head -c 5000000 /dev/zero; echo end", tasks=1), tmp_path / "scratch")
    crew.work()
    told = crew.text(0) or ""
    assert states(crew) == {0: ("succeeded", 0)}
    assert told.startswith("begin\n")
    assert told.endswith("end\n")
    assert "bytes are not kept" in told
    assert 150_000 < len(told) < 210_000


def test_memory_is_limited(tmp_path: Path) -> None:
    script = "exec python3 -c 'bytearray(300 << 20)'"
    crew = Crew(make_state(tmp_path, script, tasks=1, limits=Limits(memory=100 << 20)), tmp_path / "scratch")
    crew.work()
    assert states(crew) == {0: ("failed", 1)}
    assert "MemoryError" in (crew.text(0, "stderr") or "")


def test_cancelled_ones_have_no_end_and_are_resumed(tmp_path: Path) -> None:
    script = f"echo up; echo >> {tmp_path}/up; while ! test -e {tmp_path}/go; do sleep 0.02; done"
    crew = Crew(make_state(tmp_path, script, tasks=2), tmp_path / "scratch")
    worker = threading.Thread(target=crew.work)
    worker.start()
    assert wait_until(lambda: (tmp_path / "up").exists() and len((tmp_path / "up").read_text()) == 2)
    crew.state.cancel()
    worker.join()
    assert states(crew) == {}
    assert crew.text(0) == "up\n"
    (tmp_path / "go").touch()
    crew.state.resume()
    other = Crew(crew.state, tmp_path / "scratch")
    other.work("w2")
    assert states(other) == {0: ("succeeded", 0), 1: ("succeeded", 0)}
    done = crew.state.read_done(0)
    assert done is not None
    assert done.attempt == 1


def take(crew: Crew, task: int, *, over: bool = False, lost: int = 0) -> None:
    """A worker that has the task, and gives no sign of life."""
    crew.state.write_beat(Beat(worker="dead", number=1, slots=1, spent=1.0, running=(Running(task=task, attempt=0, seconds=1.0),)))
    assert crew.state.claim(Lease(task=task, worker="dead", lost=lost))


def test_a_lost_worker_s_task_is_taken_over(tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, "true", tasks=2), tmp_path / "scratch")
    take(crew, 1)
    crew.work()
    assert states(crew) == {0: ("succeeded", 0), 1: ("succeeded", 0)}
    held = crew.state.read_lease(1)
    assert held is not None
    assert (held[0].attempt, held[0].lost, held[0].worker) == (1, 1, crew.name("w1"))


def test_a_worker_that_lives_keeps_its_task(tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, "true", tasks=1), tmp_path / "scratch")
    take(crew, 0)
    over = threading.Event()

    def beat() -> None:
        number = 1
        while not over.wait(0.01):
            number += 1
            crew.state.write_beat(Beat(worker="dead", number=number, slots=1, spent=1.0))

    pulse = threading.Thread(target=beat)
    pulse.start()
    crew.work()
    over.set()
    pulse.join()
    assert states(crew) == {}


def test_one_that_takes_every_worker_with_it_is_given_up(tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, "true", tasks=1), tmp_path / "scratch")
    take(crew, 0, lost=3)
    crew.work()
    assert states(crew) == {0: ("lost", None)}


def test_a_late_attempt_commits_nothing(tmp_path: Path) -> None:
    script = f"while ! test -e {tmp_path}/go; do sleep 0.02; done; exit 5"
    crew = Crew(make_state(tmp_path, script, tasks=1), tmp_path / "scratch")
    worker = threading.Thread(target=crew.work)
    worker.start()
    assert wait_until(lambda: crew.state.read_lease(0) is not None)
    held = crew.state.read_lease(0)
    assert held is not None
    assert crew.state.claim(Lease(task=0, attempt=1, worker="other"), held[1])
    other = Crew(make_state(tmp_path, "true", tasks=1, store=None), tmp_path / "other")
    done = other.work("w2") and other.state.read_done(0)
    assert done
    assert crew.state.commit(done)
    (tmp_path / "go").touch()
    worker.join()
    assert states(crew) == {0: ("succeeded", 0)}


class BrokenLauncher:
    """A machine that lacks the image."""

    def begin(self, attempt: Attempt) -> Begun:
        raise EngineError("podman does not have the image", hint="wherry build")


def test_trouble_of_a_machine_fails_no_task(tmp_path: Path) -> None:
    state = make_state(tmp_path, "true", tasks=3)
    broken = Crew(state, tmp_path / "scratch", BrokenLauncher())
    assert broken.work() is None
    assert [error.what for error in broken.errors] == ["podman does not have the image"]
    beat = state.read_beat(broken.name("w1"))
    assert beat is not None
    assert beat.over
    assert "podman" in (beat.trouble or "")
    assert states(broken) == {}
    other = Crew(state, tmp_path / "scratch")
    other.work("w2")
    assert set(states(other).values()) == {("succeeded", 0)}


def test_ends_that_nobody_copied_are_read(tmp_path: Path) -> None:
    crew = Crew(make_state(tmp_path, "true", tasks=2), tmp_path / "scratch")
    crew.work(indices=(0,))
    done = crew.state.read_done(0)
    assert done is not None
    for page in list(crew.state.store.list(f"sweeps/{NAME}/ends/")):
        for one in page:
            crew.state.store.delete(one.key)
    assert states(crew) == {0: ("succeeded", 0)}
