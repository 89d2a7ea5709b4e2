"""What jobs ask a scheduler for, and the profile that submits them."""

import yaml

from scalewise.config.sections import RequestSettings, ResourceSettings
from scalewise.scheduling import requests
from workflow_runs import ROOT

SETTINGS = ResourceSettings(
    network_jobs=RequestSettings(mem_mb=1001, runtime=100), max_runtime=250, gpus_per_job=2
)


def asked(attempt, network=True, settings=SETTINGS):
    found = requests(settings, network)
    return {name: v(None, attempt=attempt) if callable(v) else v for name, v in found.items()}


def test_each_try_asks_for_more_time_up_to_the_clusters_own_limit_and_half_as_much_more_memory():
    assert asked(1) == {"gpu": 2, "mem_mb": 1001, "runtime": 100}
    assert asked(2) == {"gpu": 2, "mem_mb": 1501, "runtime": 200}
    assert asked(3) == {"gpu": 2, "mem_mb": 2002, "runtime": 250}


def test_only_jobs_that_run_the_network_ask_for_devices():
    job = RequestSettings(mem_mb=10, runtime=5, partition="light")
    settings = ResourceSettings(other_jobs=job, gpu_model="a100", account="me")
    assert asked(1, False, settings) == {
        **{"mem_mb": 10, "runtime": 5},
        **{"slurm_partition": "light", "slurm_account": "me"},
    }
    network = asked(1, True, settings)
    assert network["gpu_model"] == "a100" and network["slurm_account"] == "me"
    assert "slurm_partition" not in network


def test_the_profile_of_the_cluster_holds_all_of_the_default_one_whose_place_it_takes():
    default, slurm = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
        for name in ("default", "slurm")
    )
    assert default and default.items() <= slurm.items()
