# make run: set up and run the default config to its report.   make test: set up and run the tests.
# Another project: make run CONFIG=configs/camvid_day_to_dusk.yaml   (or ARGS="--config seeds=[0,1,2]")

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1)
GPUS ?= 1
CONFIG ?=
RESULT ?=
MODEL ?=
IMAGES ?=
OUT ?=
A ?=
B ?=
ARGS ?=
BIN = .venv/bin
# a variable as one word of the shell, whatever is in it, $ included
quoted = '$(subst ','\'',$(value $1))'
CONFIGFILE = $(if $(value CONFIG),--configfile $(call quoted,CONFIG))
SNAKEMAKE = $(BIN)/python -m snakemake --cores $(CORES) --resources gpu=$(GPUS) $(CONFIGFILE) $(ARGS)

# in process ids of its own, all of which end with it
ISOLATED = $(shell unshare --pid --fork --kill-child --mount-proc true 2>/dev/null && echo unshare --pid --fork --kill-child --mount-proc)

# files of tests side by side, a process for each core
PYTEST = OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(CORES) --maxprocesses 8

.PHONY: run run-slurm study segformer test test-all test-slurm report explain watch rerun compare clean-unused predict export check format settings rerun-table lock clean-environment

run: .venv/ready
	@$(SNAKEMAKE)

# The same on a cluster with Slurm (docs/cluster.md), from a machine that submits jobs.
run-slurm: .venv-slurm/ready
	@.venv-slurm/bin/python -m snakemake --workflow-profile profiles/slurm $(CONFIGFILE) $(ARGS)

# What network.name: segformer needs, into the same environment: once.
segformer: .venv/segformer

# The page of what is finished, when some experiment failed or is still to run.
report: .venv/ready
	@$(BIN)/python workflow_scripts/report_finished.py $(CONFIGFILE) $(ARGS)

# The study of docs/recipe.md: four gaps, one after the other, and its tables. It takes hours. GPUS=2: two
# jobs side by side, also where there is no GPU. SCALEWISE_DATA says where CamVid is.
STUDY = winter haze town dusk
study: .venv/ready
	@[ -n "$(SCALEWISE_DATA)" ] || [ -z "$(filter dusk,$(STUDY))" ] || { echo 'say where CamVid is, SCALEWISE_DATA=/path/to/camvid, or leave dusk out: make study STUDY="winter haze town"' >&2; exit 1; }
	@for gap in $(STUDY); do \
	  files=configs/recipe_study.yaml; [ $$gap = winter ] || files="$$files configs/recipe_study_$$gap.yaml"; \
	  $(BIN)/python -m snakemake --cores $(CORES) --resources gpu=$(GPUS) --configfile $$files $(ARGS) || exit 1; \
	done
	@$(BIN)/python benchmarks/recipe_study.py $(STUDY:%=recipe_%)

# What would run, why, and about what it takes: time, memory, disk. (A GPU: ARGS="--tflops 20")
explain: .venv/ready
	@$(BIN)/python workflow_scripts/explain.py $(CONFIGFILE) $(ARGS)

# How far the run is and what is at work, until it ends or Ctrl-C; printed once where there is no terminal.
watch: .venv/ready
	@$(BIN)/python workflow_scripts/watch.py $(CONFIGFILE) $(ARGS)

# The configuration that made a result: make rerun RESULT=results/retrain/<key>   (ARGS=--run makes it again)
rerun: .venv/ready
	@$(BIN)/python workflow_scripts/rerun.py $(call quoted,RESULT) $(ARGS)

# In what two results differ: make compare A=streets/lse B=streets/self_training
compare: .venv/ready
	@$(BIN)/python workflow_scripts/compare.py $(call quoted,A) $(call quoted,B) $(ARGS)

# Results that nothing refers to any more: a list; ARGS=--remove removes them.
clean-unused: .venv/ready
	@$(BIN)/python workflow_scripts/clean_unused.py $(ARGS)

# Label maps of images: make predict MODEL=.../model.safetensors IMAGES=folder OUT=folder   (ARGS=--overlay)
predict: .venv/ready
	@$(if $(and $(value MODEL),$(value IMAGES),$(value OUT)),,echo 'name all three: make predict MODEL=... IMAGES=... OUT=...' >&2; exit 1;) \
	$(BIN)/python workflow_scripts/predict.py --out=$(call quoted,OUT) $(ARGS) -- $(call quoted,MODEL) $(call quoted,IMAGES)

# The model as ONNX, checked, with a page about it: make export MODEL=.../model.safetensors OUT=model.onnx
export: .venv/ready
	@$(if $(and $(value MODEL),$(value OUT)),,echo 'name both: make export MODEL=... OUT=...' >&2; exit 1;) \
	$(BIN)/python workflow_scripts/export_model.py --out=$(call quoted,OUT) $(ARGS) -- $(call quoted,MODEL)

test: .venv/segformer
	@$(PYTEST) -m "not slow" $(ARGS)

# With the tests that take long: kills, faults, each change with the jobs that it costs, and most of
# the paper's configurations in small.
test-all: .venv/segformer
	@$(PYTEST) $(ARGS)

# profiles/slurm on a Slurm of this machine alone, with two pretended GPUs: it needs Debian and root, and
# is skipped elsewhere. It is installed where it is missing; every process ends with the tests.
SLURM = slurm-wlm munge
test-slurm: .venv-slurm/ready
	@command -v slurmctld >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SLURM) >/dev/null; }
	@SCALEWISE_SLURM=1 timeout -s KILL 2400 $(ISOLATED) .venv-slurm/bin/python -m pytest -rs tests/test_slurm.py $(ARGS)

check: .venv/ready
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m snakefmt.snakefmt --check Snakefile rules
	$(BIN)/python -m snakemake --lint

format: .venv/ready
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m snakefmt.snakefmt Snakefile rules

# config.yaml and schemas/config.schema.json, from the typed settings
settings: .venv/ready
	@$(BIN)/python workflow_scripts/make_settings.py

# docs/reruns.md, from the rows in tests/rerun_rows.py
rerun-table: .venv/ready
	@$(BIN)/python tests/rerun_page.py

.venv/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Scalewise needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	@echo "setting up .venv (a few minutes on the first run)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

# On top of .venv and not in it, where the plugin would make every start of snakemake 10 s longer that
# finds no scheduler.
.venv-slurm/ready: requirements-slurm.lock .venv/ready
	@$(BIN)/python -m venv --without-pip .venv-slurm
	@.venv-slurm/bin/python -c 'import sysconfig, pathlib; here = pathlib.Path(sysconfig.get_path("purelib")); \
	  (here / "beneath.pth").write_text(str(here).replace(".venv-slurm", ".venv") + "\n")'
	@$(BIN)/python -m pip --python .venv-slurm/bin/python install --quiet --disable-pip-version-check -r requirements-slurm.lock
	@touch $@

.venv/segformer: requirements-segformer.lock .venv/ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-segformer.lock
	@touch $@

# Resolve the requirements anew in an environment of its own; write the two lock files and envs/.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet -r requirements.in
	.venv-lock/bin/python workflow_scripts/write_lock.py
	.venv-lock/bin/python -m pip install --quiet -r requirements.lock -r requirements-slurm.in
	.venv-lock/bin/python workflow_scripts/write_lock.py slurm
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet -r requirements.lock -r requirements-segformer.in
	.venv-lock/bin/python workflow_scripts/write_lock.py segformer
	rm -rf .venv-lock

clean-environment:
	rm -rf .venv .venv-slurm
