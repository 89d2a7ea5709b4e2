"""Two jobs side by side: what threads that spin while they wait cost, and what is left of it.

    python benchmarks/threads.py [--threads 2] [--steps 40] [--repeats 5]

A job is a process that trains the compact network. Jobs run alone and two at a time, with OpenMP as
it is by itself (a thread that waits spins on its core) and as the workflow sets it
(OMP_WAIT_POLICY=PASSIVE, GOMP_SPINCOUNT=1000: it looks a thousand times, then sleeps), in turns.
Printed are the CPU time of a step, and the time by the clock; ratios are of two jobs to one alone.
Where each has as many threads as there are cores, two jobs need twice the time by the clock and the
same CPU time if neither disturbs the other. By the clock the numbers mean something only where
nothing else runs. Alone and beside another a job ends with the same weights: compared.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from timing import median_ratio, table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

POLICIES = {
    "as it is": {},
    "as the workflow sets it": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"},
}


def work(threads: int, steps: int) -> None:
    """A job: say that it is ready, wait for a line, train, and print what it took."""
    import torch

    from scalewise.models.compact import Compact
    from scalewise.models.precision import forward, to_device
    from scalewise.training.losses import cross_entropy

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = Compact(19, width=32, dropout=0).train()
    to_device(network, torch.device("cpu"))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    images = torch.randn(8, 3, 96, 192)
    labels = torch.randint(0, 19, (8, 96, 192)).to(torch.uint8)

    def train(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(forward(network, images), labels).backward()
            optimizer.step()

    train(2)
    print("ready", flush=True)
    sys.stdin.readline()
    begun, cpu = time.perf_counter(), time.process_time()
    train(steps)
    clock, cpu = time.perf_counter() - begun, time.process_time() - cpu
    weights = b"".join(p.detach().numpy().tobytes() for p in network.parameters())
    digest = hashlib.sha256(weights).hexdigest()
    print(json.dumps({"clock": clock, "cpu": cpu, "weights": digest}), flush=True)


def together(jobs: int, threads: int, steps: int, policy: dict[str, str]) -> list[dict]:
    """Run so many jobs at once; what each of them took."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--work", str(threads), "--steps", str(steps)]
    started = [
        subprocess.Popen(
            command, env={**environment, **policy}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(jobs)
    ]  # fmt: skip
    for job in started:
        job.stdout.readline()
    for job in started:
        job.stdin.write("go\n")
        job.stdin.flush()
    return [json.loads(job.communicate()[0]) for job in started]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each job")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.steps)
        return
    taken: dict[tuple[str, int], list[tuple[float, float]]] = {}
    weights = set()
    for _ in range(arguments.repeats):
        for name, policy in POLICIES.items():
            for jobs in (1, 2):
                found = together(jobs, arguments.threads, arguments.steps, policy)
                weights.update(job["weights"] for job in found)
                of_step = [
                    1e3 * median(job[kind] for job in found) / arguments.steps
                    for kind in ("cpu", "clock")
                ]
                taken.setdefault((name, jobs), []).append(tuple(of_step))
    assert len(weights) == 1, "a job computed something else beside another"
    rows = []
    for name in POLICIES:
        row = [name]
        for kind in (0, 1):
            alone, two = ([t[kind] for t in taken[name, jobs]] for jobs in (1, 2))
            row += [f"{median(alone):.1f}", f"{median(two):.1f}", f"{median_ratio(two, alone):.2f}"]
        rows.append(row)
    print(f"{arguments.threads} threads each, {os.cpu_count()} cores")
    head = ["OpenMP", "CPU ms, alone", "two", "ratio", "clock ms, alone", "two", "ratio"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
