"""A Slurm cluster of one node with two pretended GPUs, for the time of a test.

Started as root and without systemd, in a folder that stands in for /etc/slurm: programs in a job
find the cluster there alone. So it starts only in a namespace of its own (`make test-slurm`), for
which /etc/slurm is another than for the rest of the machine, and with which every process ends. The
node pretends to have 8 cores; a GPU is a device file that is /dev/null in all but its name, which
is enough for the scheduler to count, assign and name it (CUDA_VISIBLE_DEVICES).
"""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PLACE = Path("/etc/slurm")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
CORES, GPUS, MODEL = 8, 2, "pretended"
KILL_WAIT = 30  # seconds between the signal to stop and the one that kills

_SLURM_CONF = """\
ClusterName=pretended
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait={kill_wait}
OverTimeLimit=0
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=16000 Gres=gpu:{model}:{gpus}
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
PartitionName=devices Nodes={host} MaxTime=60 State=UP
"""


def what_is_missing() -> str | None:
    """Why no cluster can be started here; None where one can."""
    if os.geteuid() != 0:
        return "starting slurmd needs root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or not PLACE.is_dir():
        return f"not installed: {', '.join(missing or [str(PLACE)])}"
    if os.getpid() != 1:
        return "not in a namespace of its own: start it by make test-slurm, where unshare works"
    return None


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(what: str, is_there, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > end:
            raise RuntimeError(f"Slurm: {what} within {seconds:.0f} s")
        time.sleep(0.1)


@contextmanager
def _daemon(words: list[str], folder: Path) -> Iterator[subprocess.Popen]:
    """A daemon in the foreground, until the block ends."""
    with open(folder / f"{Path(words[0]).name}.out", "wb") as printed:
        process = subprocess.Popen(words, stdout=printed, stderr=printed, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Start it in an empty folder, for the time of the block.

    Raises RuntimeError where a daemon does not answer, and OSError or CalledProcessError where no
    device file can be made and no folder mounted.
    """
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    for number in range(GPUS):
        os.mknod(folder / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"Name=gpu Type={MODEL} File={folder}/gpu[0-{GPUS - 1}]\n")
    (folder / "slurm.conf").write_text(
        _SLURM_CONF.format(
            host=host, ports=_free_ports(2), folder=folder, kill_wait=KILL_WAIT,
            cores=CORES, gpus=GPUS, model=MODEL,
        )
    )  # fmt: skip
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    places = {
        "socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid",
        "log-file": "munge.log", "seed-file": "munge.seed",
    }  # fmt: skip
    munged = ["munged", "--foreground", "--force"]
    munged += [f"--{name}={folder / file}" for name, file in places.items()]

    def node() -> str:
        words = ["sinfo", "--noheader", "--format=%T", f"--nodes={host}"]
        return subprocess.run(words, capture_output=True, text=True).stdout

    with ExitStack() as stack:
        subprocess.run(["mount", "--bind", folder, PLACE], check=True)
        stack.callback(subprocess.run, ["umount", PLACE], check=True)
        stack.enter_context(_daemon(munged, folder))
        _wait("munged did not open its socket", (folder / "munge.socket").exists)
        stack.enter_context(_daemon(["slurmctld", "-D", "-i"], folder))
        stack.enter_context(_daemon(["slurmd", "-D", "-N", host], folder))
        _wait("the node did not become idle", lambda: "idle" in node())
        yield
        _cancel_all()


def _cancel_all() -> None:
    """End what is still running, so that no process of a job outlives the cluster."""

    def jobs() -> str:
        words = ["squeue", "--noheader", "--format=%i"]
        return subprocess.run(words, capture_output=True, text=True).stdout

    if jobs().strip():
        subprocess.run(["scancel", "--signal=KILL", "--full", *jobs().split()])
        subprocess.run(["scancel", *jobs().split()])
        _wait("jobs did not end", lambda: not jobs().strip(), 60)
