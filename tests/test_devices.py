"""Device slots, with pretended devices: nobody shares one, and nobody keeps one after its end."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scalewise import devices
from scalewise.errors import UserError
from scalewise.job import Job
from scalewise.models import store
from scalewise.runtime import prepared
from scalewise.training.losses import cross_entropy

SCRIPTS = Path(devices.__file__).parents[1]
HOLD = """
import sys, time
from scalewise.devices import hold
count, seconds, wait = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
with hold(count, wait) as names:
    begun = time.monotonic()
    print("holds", *names, flush=True)
    time.sleep(seconds)
    print("from", begun, "to", time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def pretended(tmp_path, monkeypatch):
    """Two pretended devices, and locks of our own."""
    monkeypatch.setenv(devices.LOCKS_VARIABLE, str(tmp_path / "locks"))
    monkeypatch.setenv(devices.DEVICES_VARIABLE, "cpu,cpu")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))


def holder(count: int = 1, seconds: float = 60, wait: float = 20) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(count), str(seconds), str(wait)],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("slots", [2, 3])
def test_jobs_that_run_at_once_never_share_a_device(slots, monkeypatch):
    names = [f"cpu:{i}" for i in range(slots)]
    monkeypatch.setenv(devices.DEVICES_VARIABLE, ",".join(names))
    wanted = [1, 2, 1, 2, 1, 1]
    jobs = [holder(count, seconds=0.1) for count in wanted]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for job, count in zip(jobs, wanted, strict=True):
        output = job.communicate(timeout=30)[0].split()
        assert job.returncode == 0
        held = output[1 : 1 + count]
        assert len(set(held)) == count
        begun, ended = float(output[2 + count]), float(output[4 + count])
        for name in held:
            times[name].append((begun, ended))
    assert sum(len(t) for t in times.values()) == sum(wanted)
    for intervals in times.values():
        intervals.sort()
        for (_, ended), (begun, _) in zip(intervals, intervals[1:], strict=False):
            assert ended <= begun


def test_equal_names_are_devices_of_their_own():
    with devices.hold(1) as one, devices.hold(1, wait=0.5) as other:
        assert one == other == ["cpu"]
        with pytest.raises(devices.NoDevice), devices.hold(1, wait=0):
            pass


def test_a_killed_job_lets_its_device_go_and_one_that_lives_is_named(monkeypatch):
    monkeypatch.setenv(devices.DEVICES_VARIABLE, "cpu")
    job = holder()
    try:
        assert job.stdout.readline() == "holds cpu\n"
        begun = time.monotonic()
        with pytest.raises(devices.NoDevice) as told, devices.hold(1, wait=0.3):
            pass
        assert 0.3 <= time.monotonic() - begun < 5
        assert f"0-cpu is held by process {job.pid}" in str(told.value)
        assert "--resources gpu=1" in str(told.value)
    finally:
        job.send_signal(signal.SIGKILL)
        job.communicate()
    with devices.hold(1, wait=0) as names:
        assert names == ["cpu"]


def test_a_device_is_let_go_at_the_end_of_the_block_and_after_an_error():
    for _ in range(3):
        with devices.hold(2, wait=0):
            pass
        with pytest.raises(KeyError), devices.hold(2, wait=0):
            raise KeyError


def test_all_or_none_are_taken():
    with devices.hold(1):
        with pytest.raises(devices.NoDevice, match="held by process"), devices.hold(2, wait=0):
            pass
        with devices.hold(1, wait=0):
            pass


def test_a_job_waits_until_a_device_is_free(monkeypatch):
    monkeypatch.setenv(devices.DEVICES_VARIABLE, "cpu")
    job = holder(seconds=0.3)
    assert job.stdout.readline() == "holds cpu\n"
    with devices.hold(1, wait=20):
        begun = time.monotonic()
        assert begun >= float(job.communicate()[0].split()[3])


@pytest.mark.parametrize("count, mend", [(3, "lower"), (0, "raise")])
def test_more_devices_than_exist_are_refused_at_once(count, mend):
    with pytest.raises(devices.NoDevice) as told, devices.hold(count):
        pass
    assert f"asks for {count} devices and this machine has 2" in str(told.value)
    assert f"{mend} resources.gpus_per_job" in str(told.value)


def test_visible_cuda_devices_do_not_disturb_pretended_ones(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    assert devices.local_devices() == [("0-cpu", "cpu"), ("1-cpu", "cpu")]
    with devices.hold(2) as names:
        assert names == ["cpu", "cpu"]


class TestSharedFolder:
    """The folder of locks that all users of a machine have in common."""

    @pytest.fixture(autouse=True)
    def shared(self, tmp_path, monkeypatch):
        monkeypatch.delenv(devices.LOCKS_VARIABLE)
        self.folder = tmp_path / "shared"
        monkeypatch.setattr(devices, "SHARED_FOLDER", self.folder)

    def refused(self, *words: str) -> None:
        with pytest.raises(devices.NoDevice) as told:
            devices.hold(1, wait=0).__enter__()
        assert all(word in str(told.value) for word in (*words, devices.LOCKS_VARIABLE))

    def test_it_is_one_for_all_users_whatever_their_temporary_folder(self, tmp_path):
        asked = "from scalewise import devices; print(devices.SHARED_FOLDER)"
        place = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(SCRIPTS)}
        done = subprocess.run(
            [sys.executable, "-c", asked], env={**os.environ, **place}, capture_output=True
        )
        assert done.stdout.strip() == b"/tmp/scalewise-devices"

    def test_everybody_may_lock_in_it_and_nobody_may_remove_anothers_files(self):
        before = os.umask(0o077)
        try:
            with devices.hold(1):
                assert os.stat(self.folder).st_mode & 0o7777 == 0o1777
                assert os.stat(self.folder / "0-cpu.lock").st_mode & 0o7777 == 0o666
            assert os.umask(0o077) == 0o077  # given back
        finally:
            os.umask(before)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users")
    def test_a_device_that_one_user_holds_is_held_for_another(self, monkeypatch, capfd):
        """In both orders: each user makes the lock file that the other then opens."""
        monkeypatch.setenv(devices.DEVICES_VARIABLE, "cpu")
        for first, second in ((65534, 65533), (65533, 65534)):
            with tempfile.TemporaryDirectory(dir="/tmp") as place:
                os.chmod(place, 0o1777)
                holding = self.as_user(first, place, seconds=60)
                try:
                    assert holding.stdout.readline() == "holds cpu\n"
                    other = self.as_user(second, place)
                    assert other.communicate(timeout=30)[0] == ""
                    told = f"0-cpu is held by process {holding.pid} of user {first}"
                    assert told in capfd.readouterr().err
                finally:
                    holding.kill()
                    holding.communicate()
                assert Path(place, "locks").stat().st_uid == first
                other = self.as_user(second, place)
                assert other.communicate(timeout=30)[0].startswith("holds cpu\n")

    def as_user(self, user: int, place: str, seconds: float = 0) -> subprocess.Popen:
        become = (
            "import os\nfrom scalewise import devices\n"
            f"devices.SHARED_FOLDER = devices.Path({place!r}, 'locks')\n"
            f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
        )
        return subprocess.Popen(
            [sys.executable, "-c", become + HOLD, "1", str(seconds), "0"],
            stdout=subprocess.PIPE,
            text=True,
        )

    def test_a_folder_that_cannot_be_shared_safely_is_refused(self, tmp_path):
        for mode in (0o777, 0o1755, 0o700):
            self.folder.mkdir()
            self.folder.chmod(mode)
            self.refused(str(self.folder), "share safely")
            self.folder.rmdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere").chmod(0o1777)
        self.folder.symlink_to(tmp_path / "elsewhere")
        self.refused("share safely")
        assert not list((tmp_path / "elsewhere").iterdir())
        self.folder.unlink()
        self.folder.write_text("")
        self.refused("share safely")

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_a_link_in_place_of_a_lock_is_refused_and_what_it_leads_to_stays_as_it_is(
        self, tmp_path, monkeypatch, link
    ):
        with devices.hold(1):
            pass
        victim = tmp_path / "victim"
        victim.write_text("precious")
        lock = self.folder / "0-cpu.lock"
        lock.unlink()
        link(victim, lock)
        monkeypatch.setenv(devices.DEVICES_VARIABLE, "cpu")
        self.refused(str(lock), "no lock file")
        assert victim.read_text() == "precious"

    def test_a_pipe_in_place_of_a_lock_is_refused_and_not_waited_for(self):
        with devices.hold(1):
            pass
        (self.folder / "0-cpu.lock").unlink()
        os.mkfifo(self.folder / "0-cpu.lock")
        self.refused("no lock file")

    def test_a_lock_whose_file_was_removed_before_it_was_taken_holds_nothing(self, monkeypatch):
        lock = devices.fcntl.flock
        removed = []

        def remove_and_lock(file, how):
            if not removed:
                removed.append(True)
                (self.folder / "0-cpu.lock").unlink()
            lock(file, how)

        monkeypatch.setattr(devices.fcntl, "flock", remove_and_lock)
        with devices.hold(2, wait=5) as names:
            assert names == ["cpu", "cpu"] and removed
            assert (self.folder / "0-cpu.lock").exists()

    def test_a_place_that_cannot_be_written_is_told_with_the_remedy(self, monkeypatch):
        monkeypatch.setattr(devices, "SHARED_FOLDER", Path("/proc/scalewise-devices"))
        self.refused("/proc/scalewise-devices: no folder for locks")


class TestWithoutDevices:
    @pytest.fixture(autouse=True)
    def no_cuda(self, monkeypatch):
        monkeypatch.delenv(devices.DEVICES_VARIABLE)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def test_the_device_is_the_processor_and_nothing_is_locked(self, tmp_path):
        with devices.hold(1, wait=0) as one, devices.hold(1, wait=0) as other:
            assert one == other == ["cpu"]
        assert not (tmp_path / "locks").exists()

    def test_two_are_more_than_there_are(self):
        with pytest.raises(devices.NoDevice, match="asks for 2 devices and this machine has 1"):
            devices.hold(2).__enter__()


class TestCuda:
    """What torch would say of a machine with two CUDA devices."""

    @pytest.fixture(autouse=True)
    def two_devices(self, monkeypatch):
        monkeypatch.delenv(devices.DEVICES_VARIABLE)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        self.ids = ["aaa", "bbb"]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(self.ids))
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid=self.ids[i])
        )

    def test_each_job_gets_its_own(self):
        with devices.hold(1) as one, devices.hold(1) as other:
            assert (one, other) == (["cuda:0"], ["cuda:1"])

    def test_the_lock_is_the_physical_device_s_whatever_its_number(self, monkeypatch):
        with devices.hold(1):
            self.ids = ["bbb"]
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
            with devices.hold(1, wait=0) as names:
                assert names == ["cuda:0"]
            self.ids = ["aaa"]
            with pytest.raises(devices.NoDevice, match="cuda_aaa is held"):
                devices.hold(1, wait=0).__enter__()

    def test_jobs_that_see_different_devices_do_not_wait_for_each_other(self, monkeypatch):
        """CUDA_VISIBLE_DEVICES=0 in one shell, =1 in another: torch numbers both from 0."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        self.ids = ["aaa"]
        with devices.hold(1, wait=0) as one:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
            self.ids = ["bbb"]
            with devices.hold(1, wait=0) as other:
                assert one == other == ["cuda:0"]
            with pytest.raises(devices.NoDevice, match="asks for 2 devices and this machine has 1"):
                devices.hold(2).__enter__()

    def test_visible_devices_in_another_order_have_the_same_locks(self, monkeypatch):
        with devices.hold(1) as one:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
            self.ids = ["bbb", "aaa"]
            with devices.hold(1, wait=0) as other:
                assert (one, other) == (["cuda:0"], ["cuda:0"])
                with pytest.raises(devices.NoDevice, match=r"cuda_bbb is held.*cuda_aaa is held"):
                    devices.hold(1, wait=0).__enter__()

    def test_under_slurm_jobs_of_one_allocation_share_it_out(self, monkeypatch):
        monkeypatch.setenv("SLURM_JOB_ID", "12")
        with devices.hold(1) as one, devices.hold(1) as other:
            assert one != other
        with pytest.raises(devices.NoDevice, match="asks for 3"), devices.hold(3):
            pass

    def test_a_device_named_by_the_user_has_the_same_lock(self, monkeypatch):
        monkeypatch.setenv(devices.DEVICES_VARIABLE, "cuda:1")
        with devices.hold(1) as names:
            assert names == ["cuda:1"]
            monkeypatch.delenv(devices.DEVICES_VARIABLE)
            with pytest.raises(devices.NoDevice, match="cuda_bbb"), devices.hold(2, wait=0):
                pass

    def test_a_part_of_a_device_has_its_own_lock(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
        self.ids = ["aaa"]
        with devices.hold(1):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2")
            with devices.hold(1, wait=0):
                pass


class TestPrepared:
    def job(self, gpus: int) -> Job:
        description = dict.fromkeys(("stage", "key", "title", "folder"), "x")
        return Job({**description, "settings": {}, "contents": {}, "locations": {}}, 1, gpus)

    def gradients(self) -> list[torch.Tensor]:
        """Of one step of the compact network, on several threads."""
        torch.manual_seed(1)
        model = store.build({"name": "compact", "width": 16, "dropout": 0.1}, 5)
        labels = torch.randint(0, 5, (4, 48, 96), dtype=torch.uint8)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        cross_entropy(model(torch.randn(4, 3, 48, 96)), labels).backward()
        torch.set_num_threads(threads)
        return [p.grad for p in model.parameters()]

    def test_torch_has_the_threads_of_the_job_and_computes_alike_each_time(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        job = self.job(1)
        with prepared(job) as device:
            assert device == torch.device("cpu")
            assert torch.get_num_threads() == 1
            first, second = self.gradients(), self.gradients()
        assert job.device == "cpu (CPU)"
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_no_device_is_the_user_s_to_mend(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match="asks for 3 devices"), prepared(self.job(3)):
            pass
