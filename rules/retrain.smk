rule retrain:
    input:
        inputs("retrain"),
    output:
        outputs("retrain"),
    log:
        log_of("retrain"),
    benchmark:
        benchmark_of("retrain")
    conda:
        "../envs/scalewise.yaml"
    threads: THREADS
    resources:
        **NETWORK_JOB,
        what=title("retrain"),
    params:
        stage=description("retrain"),
    message:
        "{resources.what}"
    shell:
        command("retrain", ON_DEVICE)
