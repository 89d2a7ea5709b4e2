"""What an image costs each stage, in CPU time and memory, as the set grows.

    python benchmarks/growth.py [--sizes 100 1000 10000] [--repeats 3] [--stage score_target ...]

Draws sets of tiny images (24 x 32 pixels, 6 classes) in own folders, plans a round on each, and
runs the stages' own scripts, each a process of its own, with a small network that was trained for a
few steps. The system says how much CPU time and how much memory at most each took. All images are
selected, so patches and thresholds see as many.

Of a stage the table has, per image between one size and the next, the CPU time (the start of the
process, the same at any size, cancels), the ratio of the last to the first, and the bytes of memory
from the smallest size to the largest. Each run is repeated, the sizes taking turns, and the least
of its times and memories counts, since whatever else the machine does only adds.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from timing import table

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS))

from scalewise import workflow as planning  # noqa: E402
from scalewise.plan import Plan, Stage  # noqa: E402

SIZE = 24, 32
CLASSES = 6
MEASURED = (
    *("scan_images", "scan_labels", "score_target", "select_images"),
    *("infer_patches", "compute_thresholds", "evaluate"),
)


def draw_set(folder: Path, count: int, seed: int) -> None:
    """images/ and labels/ with `count` pairs: a few upright stripes of classes in noisy colours."""
    draw = np.random.default_rng(seed)
    colors = draw.integers(0, 256, (CLASSES, 3))
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        edges = np.sort(draw.integers(1, SIZE[1], 3))
        stripes = draw.integers(0, CLASSES, 4)[np.searchsorted(edges, np.arange(SIZE[1]), "right")]
        label = np.broadcast_to(stripes, SIZE).astype(np.uint8)
        image = np.clip(colors[label] + draw.normal(0, 20, (*SIZE, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number:06}.png"), image)
        cv2.imwrite(str(folder / "labels" / f"{number:06}.png"), label)


def settings_for(data: Path) -> dict:
    """The configuration of one experiment on such a set: source, target and validation in one."""
    names = [f"class {c}" for c in range(CLASSES)]
    images = {"format": "folder", "root": str(data), "images": "images/*.png"}
    labelled = {**images, "labels": "labels/{id}.png", "id_to_class": dict(enumerate(names))}
    return {
        "project": "growth",
        "data": {
            "classes": [{"name": name, "color": [40 * c, 0, 0]} for c, name in enumerate(names)],
            "size": list(SIZE),
            "source": labelled,
            "target": images,
            "validation": labelled,
        },
        "network": {"name": "compact", "width": 8},
        "source_training": {"steps": 20, "batch": 4},
        "rounds": {"portions": [1.0]},
        "selection": {"scope": "global"},
        "patches": {"per_image": 1, "claim_images": 4},
        "experiments": [{"name": "growth", "role": "method"}],
    }


# What the system says of a child's memory to its parent begins with the parent's own, so the child
# is asked, at its end.
_RUN = """import atexit, os, re, runpy, sys
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])

@atexit.register
def tell():
    with open("/proc/self/status") as status, open("memory", "w") as file:
        file.write(re.search(r"VmHWM:\\s*(\\d+) kB", status.read())[1])

runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_stage(stage: Stage) -> tuple[float, int]:
    """Run a stage's script in the working folder. Returns its CPU seconds and its most memory in
    bytes. Raises RuntimeError with what it printed when it fails."""
    shutil.rmtree(stage.folder, ignore_errors=True)
    script = str(SCRIPTS / f"{stage.name}.py")
    words = [sys.executable, "-c", _RUN, script, stage.description_path]
    environment = {**os.environ, "SCALEWISE_DEVICES": "cpu"}
    environment["SCALEWISE_LOCKS"] = str(Path("locks").resolve())
    with open("printed.log", "w+") as printed:
        child = subprocess.Popen(words, stdout=printed, stderr=printed, env=environment)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            printed.seek(0)
            raise RuntimeError(f"{stage.title}:\n{printed.read()}")
    return used.ru_utime + used.ru_stime, 1024 * int(Path("memory").read_text())


def in_order(plan: Plan) -> Iterator[Stage]:
    """The stages that a round needs up to its thresholds, and the first evaluation."""
    of_round = plan.rounds[1].stages
    wanted = [
        *(stage for stage in plan.stages.values() if stage.name.startswith("scan_")),
        next(iter(plan.rounds[0].stages.values())),
        of_round["score_target"],
        of_round["select_images"],
        of_round["infer_patches"],
        of_round["compute_thresholds"],
        plan.rounds[0].stages["evaluate"],
    ]
    return iter({(stage.name, stage.key): stage for stage in wanted}.values())


def prepare(folder: Path, count: int, seed: int) -> list[tuple[Stage, tuple[float, int]]]:
    """Draw a set below a folder, plan, and run every stage once: what each took. Leaves the folder
    as the working one."""
    draw_set(folder / "set", count, seed)
    os.chdir(folder)
    plan = planning.load_plan(overrides=settings_for(folder / "set"))
    plan.record()
    return [(stage, run_stage(stage)) for stage in in_order(plan)]


def measure(
    folder: Path, sizes: Sequence[int], repeats: int, names: Sequence[str]
) -> dict[str, dict[int, tuple[float, int]]]:
    """Stage -> size -> least CPU seconds and bytes."""
    stages = {}
    found: dict[str, dict[int, list]] = {name: {s: [] for s in sizes} for name in names}
    for seed, size in enumerate(sizes):
        print(f"{size} images", file=sys.stderr)
        for stage, used in prepare(folder / str(size), size, seed):
            if stage.name in names:
                stages[stage.name, size] = stage
                found[stage.name][size].append(used)
    for name in names:
        for number in range(1, repeats):
            print(f"{name}, once more: {number}", file=sys.stderr)
            for size in sizes:
                os.chdir(folder / str(size))
                for path in Path("results/index").glob("scanned.sqlite*"):
                    path.unlink()  # else scans decode nothing
                found[name][size].append(run_stage(stages[name, size]))
    return {
        name: {size: tuple(map(min, zip(*runs, strict=True))) for size, runs in of.items()}
        for name, of in found.items()
    }


def rows_of(found: Mapping[str, Mapping[int, tuple[float, int]]]) -> list[list[object]]:
    """A row for each stage: see the module."""
    rows = []
    for name, of in found.items():
        sizes = sorted(of)
        steps = list(zip(sizes, sizes[1:], strict=False))
        each = [(of[b][0] - of[a][0]) / (b - a) for a, b in steps]
        memory = (of[sizes[-1]][1] - of[sizes[0]][1]) / (sizes[-1] - sizes[0])
        rows.append(
            [name, *(f"{1e3 * t:.3f}" for t in each), f"{each[-1] / each[0]:.2f}", f"{memory:.0f}"]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stage", nargs="+", choices=MEASURED, default=MEASURED)
    parser.add_argument("--keep", help="folder to work in (default: one that is removed)")
    arguments = parser.parse_args()
    sizes = sorted(set(arguments.sizes))
    if len(sizes) < 2:
        parser.error("--sizes: at least two")
    begun = os.getcwd()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary).resolve()
        try:
            found = measure(folder, sizes, arguments.repeats, arguments.stage)
        finally:
            os.chdir(begun)
    head = ["stage", *(f"ms/image {a} to {b}" for a, b in zip(sizes, sizes[1:], strict=False))]
    print(table([*head, "last/first", "bytes/image"], rows_of(found)))


if __name__ == "__main__":
    main()
