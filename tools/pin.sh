#!/usr/bin/env bash
# Renews requirements/dev.txt: runtime dependencies and the development groups, pinned with hashes, no URLs.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-annotate --python-version 3.11 \
  --all-extras --group dev --group notebook pyproject.toml -o requirements/dev.txt "$@"
