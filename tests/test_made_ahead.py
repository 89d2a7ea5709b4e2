"""What comes next is made in order, by all threads of a job and no more."""

import os
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from scalewise import made_ahead as module
from scalewise.data.cache import ArrayCache
from scalewise.inference import batches, in_batches
from scalewise.made_ahead import made_ahead

SCRIPTS = Path(module.__file__).parents[1]


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


@pytest.fixture(params=[False, True], ids=["cpu", "gpu"])
def beside_gpu(request, monkeypatch):
    monkeypatch.setattr(module, "_waits_for_gpu", lambda: request.param)
    return request.param


class Watched:
    """Makes -key, the later the sooner; knows how many were at work at once, and in which threads
    and with how many of torch's."""

    def __init__(self):
        self.at_once = self.working = 0
        self.begun, self.of_torch = [], set()
        self._lock = threading.Lock()

    def __call__(self, key: int) -> int:
        with self._lock:
            self.begun.append(key)
            self.working += 1
            self.at_once = max(self.at_once, self.working)
            self.of_torch.add(torch.get_num_threads())
        time.sleep(0.002 * (3 - key % 3))
        with self._lock:
            self.working -= 1
        return -key


def test_all_come_in_order_whatever_the_threads(threads, beside_gpu):
    make = Watched()
    assert list(made_ahead(make, range(3, 20), 4)) == [(k, -k) for k in range(3, 20)]
    assert sorted(make.begun) == list(range(3, 20))
    assert make.of_torch == {1}
    assert torch.get_num_threads() == threads  # of the thread that computes
    assert list(made_ahead(make, [], 4)) == []


def test_no_more_threads_work_than_the_job_has(threads, beside_gpu):
    make = Watched()
    for _ in made_ahead(make, range(30), 6):
        if not beside_gpu or threads == 1:
            assert make.working == 0  # the network has all threads now
        time.sleep(0.001)
    most = threads - 1 if beside_gpu and threads > 1 else threads
    assert 1 <= make.at_once <= most


def test_only_a_few_are_made_before_they_are_asked_for(threads, beside_gpu):
    make = Watched()
    made = made_ahead(make, range(100), 4)
    for key, _ in islice(made, 11):
        assert max(make.begun) <= key + 4
    made.close()
    assert make.working == 0 and len(make.begun) <= 15


def test_an_error_comes_when_its_turn_has_come(threads, beside_gpu):
    made = made_ahead(lambda key: 1 // (5 - key), range(9), 4)
    assert [key for key, _ in islice(made, 5)] == list(range(5))
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_batches_of_images_are_the_same_whatever_the_threads(threads, beside_gpu):
    def load(number: int) -> np.ndarray:
        time.sleep(0.001 * (number % 3))
        return np.full((2, 3, 3), number, np.uint8)

    parts = in_batches([5, 4, 9, 1, 0, 7, 3, 8, 2, 6], 4)
    found = list(batches(load, parts))
    assert [part for part, _ in found] == parts
    for part, images in found:
        assert images[:, 0, 0, 0].tolist() == part
    assert list(batches(load, [])) == []


def test_a_cache_for_several_threads_keeps_within_its_limit():
    """Each array is 100 bytes, ten fit; threads ask for the same few in different orders."""
    cache, wrong = ArrayCache(1000), []

    def ask(seed: int) -> None:
        draws = np.random.default_rng(seed)
        for number in draws.integers(0, 15, 300).tolist():
            (found,) = cache.get(number, lambda n: (np.full(100, n, np.uint8),))
            if not (found == number).all():
                wrong.append(number)

    asking = [threading.Thread(target=ask, args=[seed]) for seed in range(6)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert not wrong
    assert cache._bytes == 100 * len(cache._kept) <= 1000


BUSY = """
import sys, time, threading, os
sys.path.insert(0, {scripts!r})
from scalewise import job as frame

def train(job):
    import cv2, numpy as np, torch
    import train_source
    before = os.times()
    begun = time.perf_counter()
    train_source.train_source(job)
    after = os.times()
    spent = after.user + after.system - before.user - before.system
    print("cores", spent / (time.perf_counter() - begun))
    print("torch", torch.get_num_threads(), "cv2", cv2.getNumThreads())

frame.run(train, "")
"""


def test_a_training_with_one_thread_never_takes_two_cores(tmp_path):
    """Its CPU time over its wall time, decoding, augmentation and saved states included."""
    from made_up_training import write_training

    description = write_training(tmp_path, steps=12)
    program = tmp_path / "busy.py"
    program.write_text(BUSY.format(scripts=str(SCRIPTS)))
    done = subprocess.run(
        [sys.executable, program, description, "--threads", "1", "--save-steps", "4"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "7"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cores, libraries = done.stdout.splitlines()
    # what os.times tells is rounded to hundredths of a second
    assert 0 < float(cores.split()[1]) < 1.05
    assert libraries == "torch 1 cv2 1"
