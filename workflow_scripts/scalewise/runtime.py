"""Prepare torch for a job: threads as given, deterministic, on a device that is its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from scalewise import devices
from scalewise.errors import UserError
from scalewise.job import Job


@contextmanager
def prepared(job: Job) -> Iterator[torch.device]:
    """Hold the job's device while the block runs. Raises UserError when none can be had."""
    torch.set_num_threads(job.threads)
    # read when CUDA starts: without it its matrix products may add in any order
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        with devices.hold(job.gpus) as names:
            device = torch.device(names[0])
            model = "CPU"
            if device.type == "cuda":
                torch.cuda.set_device(device)
                model = torch.cuda.get_device_name(device)
            job.device = f"{names[0]} ({model})"
            yield device
    except devices.NoDevice as error:
        raise UserError(str(error)) from None
