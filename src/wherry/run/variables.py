"""The variables that tell a job's processes where they are, the same in every backend, and by which they are found again."""

from __future__ import annotations

from wherry.model.job import Job

OUTPUTS = "outputs"
METRICS = "metrics"
SEEDS = 1 << 32  # PYTHONHASHSEED takes no larger one
INPUTS_VARIABLE = "WHERRY_INPUTS"  # where a sweep's task finds what was downloaded for it
JOB = "WHERRY_JOB"


def list_variables(job: Job, index: int, folder: str) -> dict[str, str]:
    """`folder` is where the job sees its own: at least what is in OUTPUTS and METRICS."""
    return {
        JOB: job.id,
        "WHERRY_TASK": str(index),
        "WHERRY_OUTPUTS": f"{folder}/{OUTPUTS}",
        "WHERRY_METRICS": f"{folder}/{METRICS}/{index}.jsonl",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",  # streams are files, and somebody reads along
    }


def seed_variables(seed: int) -> dict[str, str]:
    """What a program takes for its random numbers, and Python for the order of sets: the same seed, the same run."""
    return {"WHERRY_SEED": str(seed), "PYTHONHASHSEED": str(seed)}


def name_worker(job: Job, index: int) -> dict[str, str]:
    """What a sweep's worker gets: which one it is."""
    return {JOB: job.id, "WHERRY_TASK": str(index)}


def mark_of(job: Job) -> str:
    """What stands in the surroundings of each of the job's processes."""
    return f"{JOB}={job.id}"
