"""Shared by the tests: one torch thread, nothing random between runs; and files with runs of the
workflow first, since they take the longest: so workers side by side end at about the same time."""

import os
import signal

# a shell has what it runs in the background ignore Ctrl-C, and all that is started from there
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not hasattr(item.module, "snakemake"))
