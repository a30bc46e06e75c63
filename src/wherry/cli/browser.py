"""Starts the user's browser."""

from __future__ import annotations

import threading
import webbrowser


def start_browser(address: str) -> None:
    """Open an address, and wait for nothing: a browser in a terminal returns when it is closed."""
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
