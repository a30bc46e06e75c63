"""Resolving a declaration to exact artefacts, per platform."""
