"""The stages composed; the public face of the library. Start reading here."""

from __future__ import annotations


class Project:
    """A project's folder."""
