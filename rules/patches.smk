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
        **NETWORK_JOB,
        what=title("infer_patches"),
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
        **OTHER_JOB,
        what=title("compute_thresholds"),
    params:
        stage=description("compute_thresholds"),
    message:
        "{resources.what}"
    shell:
        command("compute_thresholds")


rule check_round:
    input:
        inputs("check_round"),
    output:
        outputs("check_round"),
    log:
        log_of("check_round"),
    benchmark:
        benchmark_of("check_round")
    retries: 0
    conda:
        "../envs/scalewise.yaml"
    threads: 1
    resources:
        **OTHER_JOB,
        what=title("check_round"),
    params:
        stage=description("check_round"),
    message:
        "{resources.what}"
    shell:
        command("check_round")


rule accept_round:
    input:
        inputs("accept_round"),
    output:
        outputs("accept_round"),
    log:
        log_of("accept_round"),
    benchmark:
        benchmark_of("accept_round")
    conda:
        "../envs/scalewise.yaml"
    threads: 1
    resources:
        **OTHER_JOB,
        what=title("accept_round"),
    params:
        stage=description("accept_round"),
    message:
        "{resources.what}"
    shell:
        command("accept_round")


rule audit_pseudo_labels:
    input:
        inputs("audit_pseudo_labels"),
    output:
        outputs("audit_pseudo_labels"),
    log:
        log_of("audit_pseudo_labels"),
    benchmark:
        benchmark_of("audit_pseudo_labels")
    conda:
        "../envs/scalewise.yaml"
    threads: 1
    resources:
        **OTHER_JOB,
        what=title("audit_pseudo_labels"),
    params:
        stage=description("audit_pseudo_labels"),
    message:
        "{resources.what}"
    shell:
        command("audit_pseudo_labels")
