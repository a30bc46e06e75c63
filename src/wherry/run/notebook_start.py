"""What a container with JupyterLab starts; lies in its image, is run by the image's Python and needs nothing else.

    kernel   a kernel for a Jupyter outside, by sockets in the session's folder
    lab      JupyterLab for the one who began the session, by a socket in its folder; after it, a folder for TensorBoard
    (none)   JupyterLab for whoever started the container, on port 8888, with a token that is printed

In a session its starter holds the other end of the socket `alive`: when that closes, whatever ended the starter, so does the
container. The token stands in no command line. Begun as root it becomes whoever owns the mounted notebooks, whose files they stay.
"""

import os
import runpy
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

SESSION = Path("/run/wherry/session")
WORK = Path("/work")
PORT = "8888"
FOLDERS = ("notebooks", "data")
NOBODY = 10001  # the image's own user, where nobody in particular owns what is mounted


def run_kernel() -> None:
    watch_starter()
    os.environ["JPY_PARENT_PID"] = "1"  # somebody minds it: it needs not say how to be ended
    run_module("ipykernel_launcher", "-f", f"{SESSION}/kernel.json")


def run_lab() -> None:
    watch_starter()
    for folder in sys.argv[2:]:
        serve_board(folder)
    os.environ["JUPYTER_TOKEN"] = (SESSION / "token").read_text("ascii")
    run_jupyterlab(f"--ServerApp.sock={SESSION}/lab.sock", f"--ServerApp.root_dir={Path.cwd()}")


def serve_board(folder: str) -> None:
    """TensorBoard, which listens on ports alone, behind a socket in the session's folder."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "tensorboard.main", "--host=127.0.0.1", f"--port={port}", f"--logdir={folder}"]
    subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{SESSION}/board.sock")
    server.listen()

    def lead() -> None:
        while True:
            outer = server.accept()[0]
            try:
                inner = socket.create_connection(("127.0.0.1", port))
            except OSError:  # it does not listen yet, or no longer
                outer.close()
                continue
            for ends in ((outer, inner), (inner, outer)):
                threading.Thread(target=carry, args=ends, daemon=True).start()

    threading.Thread(target=lead, daemon=True).start()


def carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


def run_shared() -> None:
    owner = find_owner()
    fill_volumes(*owner)
    become(*owner)
    os.environ["HOME"] = "/tmp"  # noqa: S108 - that of root or of nobody cannot be written to
    token = os.environ.setdefault("JUPYTER_TOKEN", secrets.token_hex(24))
    port = os.environ.setdefault("JUPYTER_PORT", PORT)
    print(f"http://127.0.0.1:{port}/lab?token={token}", flush=True)
    run_jupyterlab("--ServerApp.ip=0.0.0.0", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={WORK}")


def run_jupyterlab(*options: str) -> None:
    run_module("jupyterlab", "--no-browser", "--allow-root", "--LabApp.extension_manager=readonly", *options)


def run_module(name: str, *words: str) -> None:
    sys.argv = [name, *words]
    sys.path[0] = ""
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def watch_starter() -> None:
    starter = socket.socket(socket.AF_UNIX)
    starter.connect(f"{SESSION}/alive")

    def wait() -> None:
        while starter.recv(1):
            pass
        os._exit(0)  # the first process: with it all others of the container end

    threading.Thread(target=wait, daemon=True).start()


def fill_volumes(user: int, group: int) -> None:
    """What is mounted empty begins with what the project has; docker does that for volumes of its own alone."""
    for name in FOLDERS:
        source, target = Path.cwd() / name, WORK / name
        if any(target.iterdir()):
            continue
        with suppress(OSError):  # one that is mounted to be read only
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
            for path in (target, *target.rglob("*")) if user else ():
                os.chown(path, user, group, follow_symlinks=False)


def become(user: int, group: int) -> None:
    if user:
        with suppress(OSError):  # in a sandbox, where root is an ordinary user and can become nobody else
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)


def find_owner() -> tuple[int, int]:
    """Of the mounted notebooks. Zero: to stay who one is, for this root is no root outside, or what is mounted is root's."""
    folder = WORK / FOLDERS[0]
    state = folder.stat()
    if os.getuid() != 0 or Path("/proc/self/uid_map").read_text("ascii").split()[1] != "0":
        return 0, 0
    if state.st_uid == 0 and (state.st_mode & 0o002 or not any(folder.iterdir())):
        return NOBODY, NOBODY  # a fresh volume
    return state.st_uid, state.st_gid


if __name__ == "__main__":
    {"kernel": run_kernel, "lab": run_lab}.get("".join(sys.argv[1:2]), run_shared)()
