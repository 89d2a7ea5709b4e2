rule infer_patches:
    input:
        inputs("infer_patches"),
    output:
        outputs("infer_patches"),
    log:
        log_of("infer_patches"),
    benchmark:
        benchmark_of("infer_patches")
    conda:
        "../envs/scalewise.yaml"
    threads: THREADS
    resources:
        what=title("infer_patches"),
        gpu=GPUS,
    params:
        stage=description("infer_patches"),
    message:
        "{resources.what}"
    shell:
        command("infer_patches", ON_DEVICE)


rule compute_thresholds:
    input:
        inputs("compute_thresholds"),
    output:
        outputs("compute_thresholds"),
    log:
        log_of("compute_thresholds"),
    benchmark:
        benchmark_of("compute_thresholds")
    conda:
        "../envs/scalewise.yaml"
    threads: 1
    resources:
        what=title("compute_thresholds"),
    params:
        stage=description("compute_thresholds"),
    message:
        "{resources.what}"
    shell:
        command("compute_thresholds")
