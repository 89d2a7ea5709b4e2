rule evaluate:
    input:
        inputs("evaluate"),
    output:
        outputs("evaluate"),
    log:
        log_of("evaluate"),
    benchmark:
        benchmark_of("evaluate")
    conda:
        "../envs/scalewise.yaml"
    threads: THREADS
    resources:
        **NETWORK_JOB,
        what=title("evaluate"),
    params:
        stage=description("evaluate"),
    message:
        "{resources.what}"
    shell:
        command("evaluate", ON_DEVICE)
