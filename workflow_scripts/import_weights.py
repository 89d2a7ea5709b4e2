"""import_weights: take weights that were trained on the source elsewhere; nothing is trained.

Writes `model.safetensors`, as source training would, and `weights.csv`: what became of each tensor.
"""

import torch

from scalewise.artifacts import weights_csv
from scalewise.data.index import require_unchanged
from scalewise.job import Job, run
from scalewise.models import store, weights
from scalewise.training.randomness import derived_seed


def take(job: Job) -> None:
    s = job.settings
    require_unchanged(job.locations["weights"], job.contents["weights"])
    torch.manual_seed(derived_seed(0, "weights"))  # of what the file may lack
    network = store.build(s["network"], len(s["classes"]))
    found = weights.load_file(
        network,
        s["network"],
        s["classes"],
        job.locations["weights"],
        s["weights"],
        pretrained=False,
        warn=job.warn,
    )
    job.notes["matched"] = len(found.matched)
    store.save(job.output("model.safetensors"), network, s["network"], s["classes"], s["size"])
    weights_csv.write(job.output("weights.csv"), found.rows())


if __name__ == "__main__":
    run(take, __doc__)
