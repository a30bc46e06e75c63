"""What a scoring service is asked to be: the values behind ``entrypoint = { score = … }`` and the table ``[score]``.

They go into the image as one environment variable (formats/scoring.py), so that the service there reads what was declared here.
"""

from __future__ import annotations

from dataclasses import dataclass

RUNTIME = "wherry-score"  # the wheel that has it
SCORE_MODULE = "wherry.score"  # what Python is told to run
SETTINGS = "WHERRY_SCORE"  # the variable with the settings
HOST = "WHERRY_SCORE_HOST"  # where the service listens; an image listens on all of its own addresses
MODELS = "AZUREML_MODEL_DIR"  # where Azure ML's scoring scripts look for their model


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreService:
    """`script` is relative to the project. `max_body` in bytes, `batch_wait` in seconds.

    Readings are gathered for a script that has ``run_batch``: at most `batch_size`, for at most `batch_wait`.
    """

    script: str
    port: int = 8080
    max_body: int = 1 << 20
    batch_size: int = 32
    batch_wait: float = 0.005

    @property
    def extras(self) -> tuple[str, ...]:
        """What the runtime needs besides a web server."""
        return ()
