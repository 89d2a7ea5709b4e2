"""Scalewise: one rule per phase in rules/, one script per rule in workflow_scripts/.

The plan (experiments x seeds x rounds -> stages with keys) is built in rules/common.smk.
"""

from snakemake.utils import min_version

min_version("9.27")


report: "captions/workflow.rst"


# seconds on one core: beside a scheduler they run where snakemake does
localrules:
    check_data,
    select_images,
    check_round,
    accept_round,


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/source.smk"
include: "rules/select.smk"
include: "rules/patches.smk"
include: "rules/retrain.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        PLAN.report.outputs,
    message:
        "everything up to the report is there"


rule data:
    input:
        PLAN.check.outputs,
    message:
        "the data are scanned and checked"


onstart:
    planning.take_over(PLAN)


onsuccess:
    planning.say_where_the_report_is(PLAN)


onerror:
    planning.say_what_failed(PLAN)
