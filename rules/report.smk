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
        **OTHER_JOB,
        what=title("report"),
    params:
        stage=description("report"),
    message:
        "{resources.what}"
    shell:
        command("report")
