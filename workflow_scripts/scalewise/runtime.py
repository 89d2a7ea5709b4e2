"""Prepare torch for a job: threads as given, deterministic, on a device that is its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from scalewise import devices
from scalewise.errors import UserError
from scalewise.job import Job

log = logging.getLogger(__name__)


@contextmanager
def prepared(job: Job) -> Iterator[torch.device]:
    """Hold the job's device while the block runs. Raises UserError when none can be had."""
    job.take_saved_threads()
    torch.set_num_threads(job.threads)
    try:
        with devices.hold(job.gpus) as names:
            device = torch.device(names[0])
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
            if len(names) > 1:
                log.warning("holds %d devices and computes on the first", len(names))
            yield device
    except devices.NoDevice as error:
        raise UserError(str(error)) from None
