"""One job on several devices: a process for each, started by torchrun's launcher.

All of them run the stage's script. The first leads: it holds the stage's lock and the devices,
speaks, saves the state and writes the results. The others take their part of the work; what they
have to say they tell the leader. Where there is one process nothing here does anything.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

Value = TypeVar("Value")
PATIENCE = timedelta(hours=2)  # for a process that reads from a slow disk, or writes results


def are_started() -> bool:
    """Whether this process is one of torchrun's. Others set some of its variables too."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Which process of the job this is; 0 leads."""
    return int(os.environ["RANK"]) if are_started() else 0


def count() -> int:
    """How many processes work on the job."""
    return int(os.environ["WORLD_SIZE"]) if are_started() else 1


def launch(processes: int) -> int:
    """Run this very command in so many processes; returns the exit status of the job."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # the processes themselves say what is wrong
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # the engine starts it again, and it goes on from its state
    )
    try:
        elastic_launch(config, sys.executable)(*sys.argv)
    except ChildFailedError as error:
        return max(1, error.get_first_failure()[1].exitcode)
    except SignalException:
        return 130
    return 0


@contextmanager
def joined(on_cuda: bool) -> Iterator[None]:
    """Within this the processes of the job can speak to each other; they wait for the last one."""
    if count() == 1:
        yield
        return
    import torch.distributed as distributed

    # what is said among processes goes over the CPU, gradients from device to device
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def from_leader(value: Value) -> Value:
    """The leader's value, in every process."""
    if count() == 1:
        return value
    import torch
    import torch.distributed as distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def any_of(*flags: bool) -> list[bool]:
    """Of each flag: whether it is up in any process."""
    if count() == 1:
        return list(flags)
    import torch
    import torch.distributed as distributed

    up = torch.tensor(flags, dtype=torch.uint8)
    distributed.all_reduce(up, distributed.ReduceOp.MAX)
    return up.bool().tolist()


def first_of(text: str) -> str:
    """The first text that is not empty, of the processes in order; in every process."""
    if count() == 1:
        return text
    import torch.distributed as distributed

    texts = [text] * count()
    distributed.all_gather_object(texts, text)
    return next((told for told in texts if told), "")


def with_leader(value: Value) -> list[Value]:
    """What each process has, in their order, in the leader; elsewhere an empty list."""
    if count() == 1:
        return [value]
    import torch.distributed as distributed

    values: list[Value] | None = [value] * count() if rank() == 0 else None
    distributed.gather_object(value, values, dst=0)
    return values or []
