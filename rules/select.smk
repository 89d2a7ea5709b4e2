rule score_target:
    input:
        inputs("score_target"),
    output:
        outputs("score_target"),
    log:
        log_of("score_target"),
    benchmark:
        benchmark_of("score_target")
    conda:
        "../envs/scalewise.yaml"
    threads: THREADS
    resources:
        **NETWORK_JOB,
        what=title("score_target"),
    params:
        stage=description("score_target"),
    message:
        "{resources.what}"
    shell:
        command("score_target", ON_DEVICE)


rule select_images:
    input:
        inputs("select_images"),
    output:
        outputs("select_images"),
    log:
        log_of("select_images"),
    benchmark:
        benchmark_of("select_images")
    conda:
        "../envs/scalewise.yaml"
    threads: 1
    resources:
        **OTHER_JOB,
        what=title("select_images"),
    params:
        stage=description("select_images"),
    message:
        "{resources.what}"
    shell:
        command("select_images")
