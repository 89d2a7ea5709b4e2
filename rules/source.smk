rule train_source:
    input:
        inputs("train_source"),
    output:
        outputs("train_source"),
    log:
        log_of("train_source"),
    benchmark:
        benchmark_of("train_source")
    conda:
        "../envs/scalewise.yaml"
    threads: THREADS
    resources:
        **NETWORK_JOB,
        what=title("train_source"),
    params:
        stage=description("train_source"),
    message:
        "{resources.what}"
    shell:
        command("train_source", ON_DEVICE)


rule import_weights:
    input:
        inputs("import_weights"),
    output:
        outputs("import_weights"),
    log:
        log_of("import_weights"),
    benchmark:
        benchmark_of("import_weights")
    conda:
        "../envs/scalewise.yaml"
    threads: 1
    resources:
        **OTHER_JOB,
        what=title("import_weights"),
    params:
        stage=description("import_weights"),
    message:
        "{resources.what}"
    shell:
        command("import_weights")


rule reestimate_batchnorm:
    input:
        inputs("reestimate_batchnorm"),
    output:
        outputs("reestimate_batchnorm"),
    log:
        log_of("reestimate_batchnorm"),
    benchmark:
        benchmark_of("reestimate_batchnorm")
    conda:
        "../envs/scalewise.yaml"
    threads: THREADS
    resources:
        **ONE_DEVICE_JOB,
        what=title("reestimate_batchnorm"),
    params:
        stage=description("reestimate_batchnorm"),
    message:
        "{resources.what}"
    shell:
        command("reestimate_batchnorm", ON_DEVICE)
