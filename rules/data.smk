rule make_streets:
    input:
        inputs("make_streets"),
    output:
        outputs("make_streets"),
    log:
        log_of("make_streets"),
    benchmark:
        benchmark_of("make_streets")
    conda:
        "../envs/scalewise.yaml"
    threads: 2
    resources:
        **OTHER_JOB,
        what=title("make_streets"),
    params:
        stage=description("make_streets"),
    message:
        "{resources.what}"
    shell:
        command("make_streets", SAVING)


rule scan_images:
    input:
        inputs("scan_images"),
    output:
        outputs("scan_images"),
    log:
        log_of("scan_images"),
    benchmark:
        benchmark_of("scan_images")
    conda:
        "../envs/scalewise.yaml"
    threads: 8
    resources:
        **OTHER_JOB,
        what=title("scan_images"),
    params:
        stage=description("scan_images"),
    message:
        "{resources.what}"
    shell:
        command("scan_images")


rule scan_labels:
    input:
        inputs("scan_labels"),
    output:
        outputs("scan_labels"),
    log:
        log_of("scan_labels"),
    benchmark:
        benchmark_of("scan_labels")
    conda:
        "../envs/scalewise.yaml"
    threads: 8
    resources:
        **OTHER_JOB,
        what=title("scan_labels"),
    params:
        stage=description("scan_labels"),
    message:
        "{resources.what}"
    shell:
        command("scan_labels")


rule check_data:
    input:
        inputs("check_data"),
    output:
        outputs("check_data"),
    log:
        log_of("check_data"),
    benchmark:
        benchmark_of("check_data")
    retries: 0
    conda:
        "../envs/scalewise.yaml"
    threads: 1
    resources:
        **OTHER_JOB,
        what=title("check_data"),
    params:
        stage=description("check_data"),
    message:
        "{resources.what}"
    shell:
        command("check_data")
