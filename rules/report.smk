# What the engine's own report (snakemake --report) shows: file of the report -> what it is, caption.
SHOWN = {
    "index.html": ("the whole page", "page.rst"),
    "summary.csv": ("mean IoU", "summary.rst"),
    "per_class_iou.csv": ("IoU per class", "per_class_iou.rst"),
}
CAPTION_OF_PICTURES = workflow.current_basedir.join("../captions/pictures.rst")


def shown_or_not(path):
    """An output of the report, marked for the engine's report where that shows it."""
    if Path(path).name not in SHOWN:
        return path
    what, caption = SHOWN[Path(path).name]
    labels = {"project": PLAN.project.name, "what": what}
    marked = report(path, f"../captions/{caption}", category="Report", labels=labels)
    return marked


def last_pictures(wildcards):
    """The pictures of the last rounds, for the engine's report. The page reads them from another
    file (pictures.h5), so one that is not there is no input: nothing is run for it."""
    last = {(r.experiment, r.seed): r.stages["evaluate"].folder for r in PLAN.rounds}
    found = []
    for (experiment, seed), folder in last.items():
        marked = report(
            f"{folder}/pictures.png",
            CAPTION_OF_PICTURES,
            category="Pictures of the last rounds",
            subcategory=experiment,
            labels={"experiment": experiment, "seed": str(seed)},
        )
        if os.path.exists(marked):
            found.append(ancient(marked))
    return found


rule report:
    input:
        inputs("report"),
        last_pictures,
    output:
        [shown_or_not(path) for path in outputs("report")],
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    conda:
        "../envs/scalewise.yaml"
    threads: 1
    resources:
        what=title("report"),
    params:
        stage=description("report"),
    message:
        "{resources.what}"
    shell:
        command("report")
