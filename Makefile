# fcdd: set-up, build, tests, installation. `make` alone lists the targets.
#
# Everything that is fetched lands in .setup/ (git-ignored), except the Debian packages that the tests talk to.
# Each set-up step looks first whether its work is done: a second run costs nothing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
SETUP := $(CURDIR)/.setup
ONNXRUNTIME_VERSION := 1.24.1

# Where fcdd and its tests look for the ONNX Runtime library and the tests for Python; set them to use your own.
export FCDD_ONNXRUNTIME ?= $(SETUP)/onnxruntime/onnxruntime/capi/libonnxruntime.so.$(ONNXRUNTIME_VERSION)
export FCDD_PYTHON ?= $(SETUP)/venv/bin/python

# What fcdd-trainer is built against: the torch folder of PyTorch 2.13.0; set it to use your own.
export LIBTORCH ?= $(SETUP)/libtorch/torch

# All tests need the library twice, with its unit tests and without, and there is a core for each: compiled in one unit
# each takes three fifths of the work that sixteen take. Plain `cargo test`, which compiles again after a change, does
# without this.
export CARGO_PROFILE_DEV_CODEGEN_UNITS ?= 1

# make install
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(FCDD_ONNXRUNTIME) ## Check the build tools, fetch ONNX Runtime
	@.ci/setup/tools.sh

$(SETUP)/onnxruntime/onnxruntime/capi/libonnxruntime.so.$(ONNXRUNTIME_VERSION):
	@.ci/setup/tools.sh
	@.ci/setup/onnxruntime.sh $(SETUP)/onnxruntime

.PHONY: setup-trainer
setup-trainer: setup $(LIBTORCH)/lib/libtorch_cpu.so ## Fetch libtorch, which the trainer needs (450 MB on disk)

$(SETUP)/libtorch/torch/lib/libtorch_cpu.so:
	@.ci/setup/libtorch.sh $(SETUP)/libtorch

.PHONY: setup-test
setup-test: $(SETUP)/libtorch/torch/lib/libtorch_cpu.so ## Install what the tests talk to (Debian packages, a Python environment)
	@.ci/setup/tools.sh lint
	@.ci/setup/peers.sh $(SETUP)/venv
	@.ci/setup/pytorch.sh $(SETUP)/pytorch $(SETUP)/libtorch $(SETUP)/venv

.PHONY: setup-viewer
setup-viewer: ## Install what the viewer test needs (Chromium, OHIF, playwright-core)
	@.ci/setup/viewer.sh $(SETUP)/viewer

.PHONY: build
build: setup ## Build the release binary
	$(CARGO) build --release --locked

.PHONY: trainer
trainer: setup-trainer ## Build the release binaries with the trainer
	$(CARGO) build --release --locked --features train

.PHONY: demo
demo: build ## Show the whole main job on a synthetic study, on this machine only
	$(TARGET)/release/fcdd demo

.PHONY: documentation
documentation: ## Check format, build the documentation and check its links
	@.ci/setup/tools.sh lint
	$(CARGO) fmt --check
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib

.PHONY: lint
lint: documentation setup-trainer ## Check format, the documentation and clippy
	$(CARGO) clippy --all-targets --locked --features train -- -D warnings

.PHONY: test
test: export FCDD_SKIPPED_LIST := $(CURDIR)/target/skipped.txt
test: ## Set up, lint, run all tests
	@# Compiling does not wait for what is fetched. (`make -j` would ration Cargo's processes as well.)
	@$(MAKE) --no-print-directory documentation & documentation=$$!; trap 'kill $$documentation 2>/dev/null || true' EXIT; \
	$(MAKE) --no-print-directory setup-test; wait $$documentation
	@$(MAKE) --no-print-directory lint
	@mkdir -p target && rm -f $(FCDD_SKIPPED_LIST)
	$(CARGO) test --locked --features train
	@if [ -s $(FCDD_SKIPPED_LIST) ]; then echo "Skipped, because something is missing here:"; sort -u $(FCDD_SKIPPED_LIST); fi

# How many times the daemon is killed by test-kill, all stages together.
KILLS ?= 1000

.PHONY: test-kill
test-kill: setup ## Kill the daemon 1,000 times at random instants and compare all books (KILLS=N for another number)
	FCDD_KILLS=$(KILLS) $(CARGO) test --release --locked --test survives_many_kills -- --nocapture

# How long the soak lasts.
SOAK_MINUTES ?= 60

.PHONY: soak
soak: setup ## Send studies without a break and see that memory, descriptors and queues stay flat (SOAK_MINUTES=60)
	FCDD_SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test --release --locked --test soak -- --include-ignored --nocapture

.PHONY: test-files
test-files: setup ## Assemble every reference set in each of its damaged variants and count what became of them
	FCDD_ALL_DAMAGE=1 $(CARGO) test --release --locked --test damaged_files_get_a_verdict -- --nocapture

.PHONY: test-viewer
test-viewer: setup-trainer setup-test setup-viewer ## Look at a study and its results in the OHIF viewer
	$(CARGO) test --locked --features train --test results_show_in_ohif -- --ignored --nocapture

# How long all fuzz targets together may take, and which of them to run (all, where none is named).
FUZZ_MINUTES ?= 60
FUZZ_TARGETS ?=

.PHONY: fuzz
fuzz: ## Fuzz every target in turn (FUZZ_MINUTES=60 in all)
	@.ci/setup/tools.sh
	@.ci/setup/fuzz.sh $(SETUP)/fuzz
	@fuzz/run.sh $(FUZZ_MINUTES) $(SETUP)/fuzz/bin/cargo-fuzz $(FUZZ_TARGETS)

# A Python with the peers of the benchmarks; set it to use your own.
BENCH_PYTHON := $(SETUP)/bench/bin/python
export FCDD_BENCH_PYTHON ?= $(BENCH_PYTHON)

.PHONY: bench
bench: setup-trainer setup-test ## Measure the speed bars against their peers
	@if [ "$(FCDD_BENCH_PYTHON)" = "$(BENCH_PYTHON)" ]; then .ci/setup/bench.sh $(SETUP)/bench; fi
	$(CARGO) bench --locked --features train --bench rotation --bench loading --bench training_step --bench inference \
		--bench whole_study --bench assembly --bench receive --bench sending --bench ledger

# What the GPU can do in fp32 without tensor cores, TFLOP/s, for the arithmetic floor; none where it is not known.
PEAK_TFLOPS ?=

.PHONY: bench-gpu
bench-gpu: ## Measure each ResNet and a whole study on a GPU (FCDD_ONNXRUNTIME: a build with CUDA; PEAK_TFLOPS=60)
	$(CARGO) bench --locked --bench providers -- $(if $(PEAK_TFLOPS),--peak-tflops $(PEAK_TFLOPS))
	NVIDIA_TF32_OVERRIDE=0 $(CARGO) bench --locked --bench whole_study

# More arguments of the measurement, e.g. RATES="--seeds 40"; `python3 benches/confound_rates.py --help` lists them.
RATES ?=

.PHONY: confound-rates
confound-rates: trainer ## Measure how often the confound report fails and passes whom it should (hours; can be stopped)
	python3 benches/confound_rates.py --fcdd $(TARGET)/release/fcdd --output $(TARGET)/confound-rates $(RATES)

.PHONY: demo-models
demo-models: trainer ## Train the demonstration models on synthetic subjects, into target/demo-models
	FCDD=$(TARGET)/release/fcdd models/train-demo.sh $(TARGET)/demo-models

.PHONY: demo-figures
demo-figures: build ## Judge the demonstration models on fresh synthetic subjects
	FCDD=$(TARGET)/release/fcdd models/judge-demo.sh $(TARGET)/demo-figures

.PHONY: deny
deny: ## Check licences, sources and advisories of the dependencies (needs cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is not installed:  cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check

.PHONY: install
install: build ## Install binary, libraries, models, configuration and systemd unit (PREFIX, DESTDIR)
	install -D -m 755 $(TARGET)/release/fcdd $(DESTDIR)$(PREFIX)/bin/fcdd
	install -d $(DESTDIR)$(PREFIX)/lib/fcdd $(DESTDIR)$(PREFIX)/share/fcdd $(DESTDIR)$(SYSCONFDIR)/fcdd
	cp -R $(SETUP)/onnxruntime/onnxruntime $(DESTDIR)$(PREFIX)/lib/fcdd/
	cp -R models $(DESTDIR)$(PREFIX)/share/fcdd/
	.ci/setup/configuration.sh "$(DESTDIR)" "$(PREFIX)" "$(SYSCONFDIR)"
	install -d $(DESTDIR)$(UNITDIR)
	sed 's|/usr/local/|$(PREFIX)/|g; s|/etc/fcdd|$(SYSCONFDIR)/fcdd|g' systemd/fcdd.service > $(DESTDIR)$(UNITDIR)/fcdd.service
	install -D -m 644 systemd/fcdd.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/fcdd.conf

.PHONY: install-trainer
install-trainer: install trainer ## Install the trainer, its libtorch and the units that retrain
	install -D -m 755 $(TARGET)/release/fcdd-trainer $(DESTDIR)$(PREFIX)/bin/fcdd-trainer
	install -d $(DESTDIR)$(PREFIX)/lib/fcdd/libtorch/torch
	cp -RL $(LIBTORCH)/lib $(DESTDIR)$(PREFIX)/lib/fcdd/libtorch/torch/
	cp -R $(LIBTORCH)/../nvidia $(DESTDIR)$(PREFIX)/lib/fcdd/libtorch/
	sed 's|/usr/local/|$(PREFIX)/|g; s|/etc/fcdd|$(SYSCONFDIR)/fcdd|g' systemd/fcdd-retrain.service > $(DESTDIR)$(UNITDIR)/fcdd-retrain.service
	install -m 644 systemd/fcdd-retrain.timer $(DESTDIR)$(UNITDIR)/fcdd-retrain.timer
