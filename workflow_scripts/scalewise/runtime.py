"""Prepare torch for a job: threads as given, deterministic, on a device that is its own."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from scalewise import devices, processes
from scalewise.errors import UserError
from scalewise.job import Job


@contextmanager
def prepared(job: Job) -> Iterator[torch.device]:
    """Hold the job's devices while the block runs; gives the one of this process.

    Raises UserError when there are not enough.
    """
    try:
        with ExitStack() as held:
            names: list[str] = []
            if job.leads:
                job.take_saved_threads()
                names = held.enter_context(devices.hold(job.gpus))
            held.enter_context(processes.joined(torch.cuda.is_available()))
            names, job.threads = processes.from_leader((names, job.threads))
            torch.set_num_threads(max(1, job.threads // processes.count()))
            device = torch.device(names[processes.rank()])
            model = "CPU"
            if device.type == "cuda":
                # The CPU's kernels in use here are deterministic as they are, and this call takes
                # a second of imports. The variable is read when CUDA starts.
                if job.deterministic:
                    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                    torch.use_deterministic_algorithms(True, warn_only=True)
                torch.backends.cudnn.benchmark = not job.deterministic
                torch.cuda.set_device(device)
                model = torch.cuda.get_device_name(device)
            job.device = f"{names[0]} ({model})"
            job.warn_of_another_maker()
            yield device
    except devices.NoDevice as error:
        raise UserError(str(error)) from None
