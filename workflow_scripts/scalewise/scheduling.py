"""What a job asks the scheduler of a cluster for, as resources of the engine."""

from collections.abc import Callable

from scalewise.config.sections import ResourceSettings


def requests(settings: ResourceSettings, network: bool) -> dict[str, int | str | Callable]:
    """Resources of a job that runs the network, or of another, by the engine's names of them:
    `mem_mb` and `runtime` (minutes) grow with each attempt, and what is not set is left out."""
    job = settings.network_jobs if network else settings.other_jobs
    named: dict[str, int | str | None] = {
        "slurm_partition": job.partition,
        "slurm_account": settings.account,
    }
    if network:
        named |= {"gpu": settings.gpus_per_job, "gpu_model": settings.gpu_model}

    # the engine passes by name what it finds among the parameters

    def memory(wildcards: object, attempt: int) -> int:
        return job.mem_mb * (attempt + 1) // 2

    def minutes(wildcards: object, attempt: int) -> int:
        return min(job.runtime * attempt, settings.max_runtime)

    return {
        "mem_mb": memory,
        "runtime": minutes,
        **{name: value for name, value in named.items() if value is not None},
    }
