"""What bubblewrap is asked to mount, from roots that need nothing, something, or lead astray."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.engines.accounts import Account, find_account
from wherry.engines.sandbox import Placed, find_command, plan_mounts, resolve_inside
from wherry.errors import EngineError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("bin", "etc", "tmp", "data/deep", "usr/bin"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:10001:10002::/home/app:/bin/sh\nbad line\n")
    (root / "etc/group").write_text("root:x:0:\nstaff:x:50:app\n")
    (root / "link").symlink_to("/data")
    (root / "up").symlink_to("../../../../data")
    (root / "loop").symlink_to("loop")
    (root / "bin/run").write_text("")
    (root / "bin/run").chmod(0o755)
    (root / "bin/text").write_text("")
    (root / "usr/bin/far").symlink_to("/bin/run")
    return root


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/deep", "/data/deep"),
        ("/link/deep", "/data/deep"),
        ("/up/deep", "/data/deep"),
        ("/link/../etc", "/etc"),
        ("/../../etc", "/etc"),
        ("/absent/x", "/absent/x"),
        ("relative", "/relative"),
        ("/", "/"),
    ],
)
def test_links_are_resolved_inside(root: Path, path: str, expected: str) -> None:
    assert resolve_inside(root, path) == expected


def test_a_loop_ends(root: Path) -> None:
    with pytest.raises(EngineError, match="too many"):
        resolve_inside(root, "/loop/x")


def test_commands(root: Path) -> None:
    assert find_command(root, "run", "/absent:/bin", "/", ()) == "/bin/run"
    assert find_command(root, "far", "/usr/bin", "/", ()) == "/usr/bin/far"
    assert find_command(root, "./run", "", "/bin", ()) == "/bin/run"
    assert find_command(root, "text", "/bin", "/", ()) is None
    assert find_command(root, "run", "/usr/bin", "/", ()) is None
    assert find_command(root, "/mounted/run", "", "/", ("/mounted",)) == "/mounted/run"


def bind(target: str, *, is_folder: bool = True) -> Placed:
    return Placed(target=target, options=("--bind", "/host", target), is_folder=is_folder)


def test_a_root_with_all_places_is_bound_whole(root: Path) -> None:
    assert plan_mounts(root, (bind("/data/deep"), bind("/tmp"))) == [
        *("--ro-bind", str(root), "/", "--bind", "/host", "/tmp", "--bind", "/host", "/data/deep")
    ]


def test_a_missing_place_shows_its_folder_entry_by_entry(root: Path) -> None:
    plan = plan_mounts(root, (bind("/data/new/x"), bind("/data/new/y")))
    assert plan == [
        *("--ro-bind", str(root), "/", "--tmpfs", "/data", "--ro-bind", f"{root}/data/deep", "/data/deep"),
        *("--bind", "/host", "/data/new/x", "--bind", "/host", "/data/new/y", "--remount-ro", "/data"),
    ]


def test_a_missing_place_at_the_top_keeps_links(root: Path) -> None:
    plan = plan_mounts(root, (bind("/new"),))
    assert plan[:3] != ["--ro-bind", str(root), "/"]
    assert plan[plan.index("--symlink") :][:3] == ["--symlink", "/data", "/link"]
    assert plan[-2:] == ["--remount-ro", "/"]


def test_below_another_mount_nothing_is_opened(root: Path) -> None:
    plan = plan_mounts(root, (bind("/tmp/inner"), bind("/tmp")))
    assert plan == ["--ro-bind", str(root), "/", "--bind", "/host", "/tmp", "--bind", "/host", "/tmp/inner"]


def test_the_later_of_two_at_one_place_counts(root: Path) -> None:
    later = Placed(target="/tmp", options=("--tmpfs", "/tmp"))
    assert plan_mounts(root, (bind("/tmp"), later))[3:] == ["--tmpfs", "/tmp"]


def test_refused_places(root: Path) -> None:
    with pytest.raises(UsageError):
        plan_mounts(root, (bind("/"),))
    with pytest.raises(EngineError, match="no folder"):
        plan_mounts(root, (bind("/etc/passwd"),))
    with pytest.raises(EngineError, match="no file"):
        plan_mounts(root, (bind("/etc", is_folder=False),))


def test_a_crowded_folder_is_refused(root: Path) -> None:
    for number in range(1600):
        (root / "data" / str(number)).touch()
    with pytest.raises(EngineError, match="entries"):
        plan_mounts(root, (bind("/data/new"),))


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Account(uid=0, gid=0, home="/root")),
        ("app", Account(uid=10001, gid=10002, home="/home/app")),
        ("10001", Account(uid=10001, gid=10002, home="/home/app")),
        ("10001:50", Account(uid=10001, gid=50, home="/home/app")),
        ("app:staff", Account(uid=10001, gid=50, home="/home/app")),
        ("777:778", Account(uid=777, gid=778, home="/")),
    ],
)
def test_accounts(root: Path, user: str, expected: Account) -> None:
    assert find_account(root, user) == expected


@pytest.mark.parametrize("user", ["nobody-here", "app:no-such-group"])
def test_unknown_accounts(root: Path, user: str) -> None:
    with pytest.raises(EngineError, match="the image has no"):
        find_account(root, user)


def test_accounts_never_come_from_the_host(tmp_path: Path) -> None:
    root = tmp_path / "bare"
    root.mkdir()
    (root / "etc").symlink_to("/etc")
    with pytest.raises(EngineError):
        find_account(root, "daemon")
