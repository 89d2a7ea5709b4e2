import gc
import os
import re
import shlex
import sys
from pathlib import Path

SCRIPTS = Path(workflow.basedir, "workflow_scripts")
sys.path.insert(0, str(SCRIPTS))

from snakemake.exceptions import WorkflowError

from scalewise import workflow as planning
from scalewise.config import ConfigError
from scalewise.plan import OUTPUTS, RESULTS, SETTINGS_FILE, description_of, folder_of
from scalewise.scheduling import requests

# Threads that wait must not spin on a core that another job was given; looking a thousand times
# before sleeping costs a neighbour little and makes a training step of two threads a fifth faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# numpy starts threads of its own when it is imported, before a job knows how many it was given
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


# The engine makes objects by the million and keeps them: to look through them for cycles again and
# again was a quarter of the time that a large plan took.
gc.set_threshold(100_000, 20, 20)


def guard_device_slots(wanted):
    """Set the default limit of one device slot; refuse jobs that ask for more than the limit.

    Without a limit the engine starts every GPU job at once, under a limit of 0 too, and a job that
    asks for more than the limit is silently given less. `global_resources` is no documented
    interface: tests/test_workflow.py holds what it does here. Jobs of a cluster have no limit.
    """
    if not workflow.is_main_process:
        return
    limit = workflow.global_resources.setdefault("gpu", 1)
    limit = getattr(limit, "value", limit)
    if wanted > limit:
        sys.exit(
            f"\nresources.gpus_per_job: a job asks for {wanted} device slots and the limit is "
            f"{limit}: start with --resources gpu={wanted}, or lower resources.gpus_per_job\n"
        )


def build_plan():
    """The plan of this configuration. A mistake of the user's ends the program with its message.

    The engine would merge --configfile and --config into one dictionary key by key; the files are
    read here instead, since a project's id map and lists replace the default's whole.
    """
    settings = workflow.config_settings
    try:
        return planning.load_plan(settings.configfiles or [], settings.config or {})
    except ConfigError as error:
        sys.exit(f"\n{error}\n")


def is_dry_run(word):
    """Whether an argument asks for a dry run: -n may stand among other letters, as in -nq."""
    return word in ("--dry-run", "--dryrun") or re.fullmatch("-[a-zA-Z]*n[a-zA-Z]*", word)


def refuse_braces(*folders):
    """The engine takes braces in these paths for wildcards: it ends in a traceback, or finds no
    lock and lets two runs into one folder."""
    for folder in map(str, folders):
        if set("{}") & set(folder):
            sys.exit(f"\n{folder}: the engine cannot work in a folder with braces: rename it\n")


refuse_braces(workflow.basedir, os.getcwd())
PLAN = build_plan()
guard_device_slots(PLAN.project.settings.resources.gpus_per_job)
if workflow.is_main_process:
    planning.begin(PLAN, only_look=any(map(is_dry_run, sys.argv)))


wildcard_constraints:
    key="[0-9a-f]{16}",


def inputs(name):
    """What a stage reads. A path is a promise: its age says nothing, hence ancient()."""

    def of_stage(wildcards):
        stage = stage_of(name, wildcards)
        # ancient() says nothing of a file that is still to be made: a finished stage that waited for
        # the check of another data set would be run again
        waits_for = [] if planning.is_finished(stage) else stage.after
        # one file of a job is enough to wait for it: one that is missing, if there is such
        waits = [
            next((p for p in other.outputs if not os.path.exists(p)), other.outputs[-1])
            for other in waits_for
        ]
        return [ancient(path) for path in [*(s.path for s in stage.sources), *waits]]

    return of_stage


def outputs(name):
    """The files of a stage, `settings.json` last: see OUTPUTS in scalewise/plan.py."""
    return [f"{folder_of(name)}/{{key}}/{file}" for file in (*OUTPUTS[name], SETTINGS_FILE)]


def stage_of(name, wildcards):
    try:
        return PLAN.stage(name, wildcards.key)
    except KeyError as error:
        raise WorkflowError(error.args[0]) from None


def description(name):
    return description_of(name, "{key}")


def title(name):
    # a resource, not a parameter: its change must not run a shared stage again
    return lambda wildcards: stage_of(name, wildcards).title


def log_of(name):
    return f"{RESULTS}/logs/{name}/{{key}}.log"


def benchmark_of(name):
    return f"{RESULTS}/benchmarks/{name}/{{key}}.tsv"


def quoted(path):
    """A path as a word of a shell command that the engine formats: braces in it stay braces."""
    return shlex.quote(str(path)).replace("{", "{{").replace("}", "}}")


def python():
    """Inside a conda environment of the engine's its python, else the one that runs now."""
    methods = workflow.deployment_settings.deployment_method
    return "python" if methods else quoted(sys.executable)


def command(name, *options):
    """The shell command of a stage."""
    script = SCRIPTS / f"{name}.py"
    return " ".join(
        [python(), quoted(script), "{params.stage:q} --threads {threads} --log {log:q}", *options]
    )


RESOURCES = PLAN.project.settings.resources
OTHER_JOB = requests(RESOURCES, network=False)
NETWORK_JOB = requests(RESOURCES, network=True)
ONE_DEVICE_JOB = NETWORK_JOB | {"gpu": 1}  # goes through its images once and in order
THREADS = RESOURCES.threads
SAVING = f"--save-minutes {RESOURCES.save_minutes:g}"
if RESOURCES.save_steps:
    SAVING = f"--save-steps {RESOURCES.save_steps}"
ON_DEVICE = f"--gpus {{resources.gpu}} {SAVING}"
if not RESOURCES.deterministic:
    ON_DEVICE += " --any-order"


# What the engine's own report (snakemake --report) shows: file of the report -> category, what it is.
# The caption has the name of the file.
SHOWN = {
    "index.html": ("Report", "the whole page"),
    "summary.csv": ("Report", "mean IoU"),
    "per_class_iou.csv": ("Report", "IoU per class"),
    "miou_over_rounds.svg": ("Figures", "mIoU over rounds"),
    "iou_per_class.svg": ("Figures", "IoU per class"),
    "pseudo_label_accuracy.svg": ("Figures", "pseudo-labels that are right"),
    "images_selected.svg": ("Figures", "images selected"),
    "thresholds.svg": ("Figures", "thresholds"),
    "claim.svg": ("Figures", "the paper's claim"),
    "losses.svg": ("Figures", "losses"),
}
BRACES = str.maketrans("{}", "()")  # the engine takes what is in them for a wildcard's name
CAPTION_OF_PICTURES = workflow.current_basedir.join("../captions/pictures.rst")


def shown_or_not(path):
    """An output of the report, marked for the engine's report where that shows it."""
    name = Path(path).name
    if name not in SHOWN:
        return path
    category, what = SHOWN[name]
    caption = f"../captions/{Path(name).with_suffix('.rst')}"
    labels = {"project": PLAN.project.name.translate(BRACES), "what": what}
    return report(path, caption, category=category, labels=labels)


def last_pictures(wildcards):
    """The pictures of the last rounds, for the engine's report. The page reads them from another
    file (pictures.h5), so one that is not there is no input: nothing is run for it."""
    last = {(r.experiment, r.seed): r.stages["evaluate"].folder for r in PLAN.rounds}
    found = []
    for (experiment, seed), folder in last.items():
        name = experiment.translate(BRACES)
        marked = report(
            f"{folder}/pictures.png",
            CAPTION_OF_PICTURES,
            category="Pictures of the last rounds",
            subcategory=name,
            labels={"experiment": name, "seed": str(seed)},
        )
        if os.path.exists(marked):
            found.append(ancient(marked))
    return found
