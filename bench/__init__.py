"""Measures wherry next to its rivals: `python -m bench [--only NAME] [--case NAME]`. Nothing of the product imports it."""
