"""The demo's tables, from its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_CHANGES = {2: "a retrained model", 3: "a newer scikit-learn"}
_WAYS = {
    "wherry": "wherry",
    "docker": "docker pull, the same image",
    "skopeo": "skopeo copy, the same image",
    "one_layer": "{client}, one layer",
    "recipe": "{client}, FROM new, FROM old, COPY --from",
}


def print_report(report: dict[str, Any]) -> None:
    print(f"\n{report['host']}, run by {report['engine']}; cache at the start: {report['cache']}")
    print("'one layer' is the same files in a single gzip layer: the time to write it alone, without making the files\n")
    _print_steps(report["steps"])
    print("\na registry pull, as `wherry diff` has it beforehand\n")
    rows = [(f"release {each['release']}", each["platform"], _show(each["pull"])) for each in report["estimates"]]
    _print_table(("", "platform", "bytes"), rows)
    _print_updates(report)
    print(f"\n{report['seconds']:.0f} s in all; .demo/report.json has all of it")


def _print_steps(steps: Sequence[dict[str, Any]]) -> None:
    header = ("step", "seconds", "bytes to move", "one layer: s", "one layer: bytes", "")
    rows = [
        (
            step["name"],
            f"{step['seconds']:.2f}",
            _show(step["moved"]),
            "" if step["single_seconds"] is None else f"{step['single_seconds']:.2f}",
            _show(step["single_bytes"]),
            step["note"],
        )
        for step in steps
    ]
    _print_table(header, rows)


def _print_updates(report: dict[str, Any]) -> None:
    print(f"\nwhat a device's link carried for each update, TLS and both ways included, counted in this run ({report['device']})")
    fleets = [f"{int(devices):,}" for devices in report["updates"][0]["ways"]["wherry"]["cost"]]
    header = ("update", "by", "bytes", "times", *(f"USD, {devices} devices" for devices in fleets), "")
    rows = []
    for update in report["updates"]:
        for name, way in update["ways"].items():
            title = f"{update['release']}: {_CHANGES[update['release']]}" if name == "wherry" else ""
            by = _WAYS[name].format(client=report["client"])
            if way["moved"] is None:
                rows.append((title, by, "n/a", *("" for _ in fleets), "", f"  {way['note']}"))
                continue
            costs = [f"{float(amount):,.2f}" for amount in way["cost"].values()]
            rows.append((title, by, _show(way["moved"]), f"{way['times']:,.1f}", *costs, ""))
    print()
    _print_table(header, rows, left=2)
    print("\nmoney at 25 USD per GB; headers of packets come on top, for all ways alike")
    first, sick = report["first"], report["sick"]
    print(f"the first release, to a device without anything: {_show(first['moved'])} bytes")
    if sick is None:
        print(f"a sick release taken back: not run, since {report['device']} runs no container here that waits for readings")
    else:
        print(
            f"release {sick['release']} was sick ({sick['reason']}): {_show(sick['moved'])} bytes to come, "
            f"{_show(sick['moved_to_go_back'])} bytes to go back to release 3"
        )


def _show(size: int | None) -> str:
    return "" if size is None else f"{size:,}"


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], left: int = 1) -> None:
    """The first `left` columns and the last one begin at the left."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, tuple("-" * width for width in widths), *rows):
        cells = [
            cell.ljust(width) if place < left or place == len(row) - 1 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
