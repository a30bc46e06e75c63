"""What `make demo` runs: `python -m tools.demo`. Nothing of the product imports it."""
