"""The two sides of the case serve-http, and who asks them: a scoring script, and a FastAPI app with the same model.

Both sides have the example's model, the same types, one core, the same server of HTTP (uvicorn) and the same Python.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from urllib.request import urlopen

from bench.harness import NotMeasured

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "iot-anomaly"
MODEL = """\
import pickle
from datetime import date
from pathlib import Path
from pydantic import BaseModel
from seasonal import describe_days
class Reading(BaseModel):
    date: date
    temp_max: float
    temp_min: float
class Answer(BaseModel):
    anomaly: bool
    usual_max: float
    usual_min: float
def load():
    return pickle.loads(Path("model.pkl").read_bytes())
def score(model, reading):
    usual = model["season"].predict(describe_days([reading.date]))[0]
    anomaly = model["detector"].predict([[reading.temp_max - usual[0], reading.temp_min - usual[1]]])[0] == -1
    return Answer(anomaly=bool(anomaly), usual_max=round(float(usual[0]), 1), usual_min=round(float(usual[1]), 1))
"""
SCRIPT = """\
from model import Answer, Reading, load, score
def init():
    global model
    model = load()
def run(reading: Reading) -> Answer:
    return score(model, reading)
"""
BATCHED = (
    SCRIPT
    + """\
from seasonal import describe_days
def run_batch(readings: list[Reading]) -> list[Answer]:
    usual = model["season"].predict(describe_days([reading.date for reading in readings]))
    away = [[one.temp_max - high, one.temp_min - low] for one, (high, low) in zip(readings, usual)]
    odd = model["detector"].predict(away) == -1
    return [Answer(anomaly=bool(a), usual_max=round(float(h), 1), usual_min=round(float(l), 1)) for a, (h, l) in zip(odd, usual)]
"""
)
FASTAPI = """\
import sys
import uvicorn
from fastapi import FastAPI
from model import Answer, Reading, load, score
model = load()
app = FastAPI()
@app.get("/health")
def health():
    return {"status": "ok"}
@app.post("/score", response_model=Answer)
KIND score_reading(reading: Reading):
    return score(model, reading)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
"""
SIDES = {
    "wherry": ["-m", "wherry.score", "script.py"],
    "wherry-batched": ["-m", "wherry.score", "batched.py"],
    "fastapi": ["plain.py"],
    "fastapi-async": ["eager.py"],
}
_READING = b'{"date": "2026-07-14", "temp_max": 3.5, "temp_min": -1.0}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was answered in a time, and how much of the server's processor that took."""

    answers: int
    seconds: float
    cpu: float


def write_sides(folder: Path) -> None:
    """Both sides, and a model made as the example's train.py makes one, of a sine of temperatures."""
    import numpy as np
    from sklearn.covariance import EllipticEnvelope
    from sklearn.linear_model import LinearRegression

    folder.mkdir(parents=True, exist_ok=True)
    texts = {"model.py": MODEL, "script.py": SCRIPT, "batched.py": BATCHED}
    texts |= {"plain.py": FASTAPI.replace("KIND", "def"), "eager.py": FASTAPI.replace("KIND", "async def")}
    for name, text in (*texts.items(), ("seasonal.py", (EXAMPLE / "seasonal.py").read_text())):
        (folder / name).write_text(text)
    sys.path.insert(0, str(folder))
    try:
        from seasonal import describe_days  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(folder))
    days = describe_days([date(2012, 1, 1) + timedelta(days=number) for number in range(500)])
    drawn = np.random.default_rng(1)
    readings = 15 + 8 * days[:, :2] + drawn.normal(0, 3, (500, 2))
    season = LinearRegression().fit(days, readings)
    detector = EllipticEnvelope(contamination=0.01, random_state=1).fit(readings - season.predict(days))
    (folder / "model.pkl").write_bytes(pickle.dumps({"season": season, "detector": detector}))


@contextmanager
def run_side(folder: Path, words: list[str], core: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server on one core; its port and process.

    In a session of its own: then Linux (sched_autogroup) divides a busy core among programs. Else it divides it among threads, and
    FastAPI, with forty of them in turn at work, takes from strangers twice what a program of two threads gets.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    settings = {"script": words[-1], "port": port}
    pinned = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    env = {**os.environ, **pinned, "WHERRY_SCORE": json.dumps(settings), "PYTHONPATH": ""}
    argv = [sys.executable, *words] if words[0] == "-m" else [sys.executable, *words, str(port)]
    process = subprocess.Popen(["taskset", "-c", str(core), *argv], cwd=folder, env=env, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                if urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200:
                    break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise NotMeasured(f"{words} does not answer") from None
                time.sleep(0.1)
        yield port, process
    finally:
        process.terminate()
        process.wait(60)


def ask(port: int, process: subprocess.Popen[bytes], connections: int, seconds: float) -> Load:
    """Ask over so many connections at once, each of them without pause, for a time."""
    before, start = _cpu(process.pid), time.perf_counter()
    answers = asyncio.run(_ask_all(port, connections, start + seconds))
    return Load(answers=answers, seconds=time.perf_counter() - start, cpu=_cpu(process.pid) - before)


async def _ask_all(port: int, connections: int, end: float) -> int:
    return sum(await asyncio.gather(*(_ask_one(port, end) for _ in range(connections))))


async def _ask_one(port: int, end: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(_READING)}\r\n\r\n".encode()
    done = 0
    while time.perf_counter() < end:
        writer.write(head + _READING)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise NotMeasured(f"an answer that is none: {answer[:200]!r}")
        length = int(next(line for line in answer.lower().splitlines() if line.startswith(b"content-length")).split(b":")[1])
        if b'"anomaly"' not in await reader.readexactly(length):
            raise NotMeasured("an answer without a score")
        done += 1
    writer.close()
    return done


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
