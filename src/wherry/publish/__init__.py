"""Destinations: where an image goes."""
