"""The agent as one file: it runs with a bare Python, signatures and zstd included."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from tests.simulators.devices import Operator, make_model_image
from wherry.store.host import read_host_platform

TOOL = Path(__file__).parents[3] / "tools/agent_zipapp.py"


def test_it_needs_nothing_but_python(tmp_path: Path) -> None:
    program = tmp_path / "wherry-agent.pyz"
    subprocess.run([sys.executable, str(TOOL), str(program)], check=True, capture_output=True)
    terms = {name.partition("-")[0] for name in zipfile.ZipFile(program).namelist() if ".dist-info/" in name}
    assert {"cryptography", "cffi", "securesystemslib", "tuf", "zlib_ng"} <= terms  # each with its licence
    operator, image = Operator(datetime.now(UTC).replace(microsecond=0)), make_model_image(b"model", platform=read_host_platform())
    operator.release(1, image)
    (tmp_path / "root.json").write_bytes(operator.root)
    (tmp_path / "parcel").write_bytes(operator.cut(image, None))
    (tmp_path / "agent.toml").write_text('engine = "containerd"\nstate = "state"\n')
    env = {"PATH": str(tmp_path), "WHERRY_CACHE": str(tmp_path / "cache")}  # no engine: it gets as far as asking for one
    argv = [sys.executable, "-I", "-S", str(program), "--config", str(tmp_path / "agent.toml"), "apply", str(tmp_path / "parcel")]
    for _ in range(2):
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, "ctr is not installed" in done.stderr) == (16, True), done.stderr
    assert (tmp_path / "state/trust/targets.json").exists()  # it was verified
    assert len(list((tmp_path / "cache/agent").iterdir())) == 1
