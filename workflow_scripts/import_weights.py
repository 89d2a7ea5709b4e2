"""import_weights: take weights that were trained on the source elsewhere; nothing is trained.

Writes `model.safetensors`, as source training would, and `weights.csv`: what became of each tensor.
"""

from scalewise.artifacts import weights_csv
from scalewise.job import Job, run
from scalewise.models import store, weights


def take(job: Job) -> None:
    s = job.settings
    network = store.build(s["network"], len(s["classes"]))
    found = weights.load_file(
        network,
        s["network"],
        s["classes"],
        job.locations["weights"],
        s["weights"],
        pretrained=False,
    )
    job.notes["matched"] = len(found.matched)
    store.save(job.output("model.safetensors"), network, s["network"], s["classes"], s["size"])
    weights_csv.write(job.output("weights.csv"), found.rows())


if __name__ == "__main__":
    run(take, __doc__)
