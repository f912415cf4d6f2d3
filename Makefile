# Every target sets up the virtual environment first if there is none. `make help` lists them.

VENV   ?= .venv
PYTHON ?= python3
# An edge device needs no torch: EXTRAS=runtime. Never both `runtime` and `gpu`: they share files.
EXTRAS ?= export,runtime,rtx,bench,dev
TASK   ?= det
OUT    ?= build
# Of the fast tests. All tests of a file run in one, since they share what is dear to make.
WORKERS ?= 2
BIN    := $(VENV)/bin
# One stamp a choice of extras: an environment made for a device is not ready for an export.
comma  := ,
# On a Jetson TensorRT comes with the system, for the system's Python.
SYSTEM := $(if $(wildcard /etc/nv_tegra_release),--system-site-packages)
READY  := $(VENV)/.ready-$(subst $(comma),-,$(EXTRAS))

TORCH       := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_LOCAL := $(if $(filter Linux,$(shell uname -s)),+cpu)
# PyTorch's own index of CPU builds: the ones on PyPI bring several GB of CUDA libraries.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: help setup export calibrate run verify bench bench-speed browser cross train-det train-adaptive train-seg train-det3d plugins plugins-host plugins-aarch64 test test-slow test-gpu lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

setup: $(READY) ## make the virtual environment (VENV, PYTHON, EXTRAS)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.10 to 3.13 is needed; name one: make PYTHON=python3.11 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(SYSTEM) $(VENV) || \
	  { echo "no virtual environment: install python3-venv, or name another PYTHON" >&2; exit 2; }
	@have=" $(subst $(comma),  ,$(EXTRAS)) "; \
	  for wheel in $(VENV)/lib/python*/site-packages/onnxruntime*.dist-info; do \
	    case $${wheel##*/} in onnxruntime_gpu-*) have="$$have gpu ";; onnxruntime-*) have="$$have runtime ";; esac; \
	  done; \
	  case "$$have" in *" runtime "*" gpu "*|*" gpu "*" runtime "*) \
	    echo "the extras runtime and gpu break each other in one environment: leave one out of EXTRAS," \
	      "or make another: VENV=.venv-gpu" >&2; exit 2;; esac
	@echo "setting up $(VENV) with extras $(EXTRAS)" >&2
ifneq (,$(findstring export,$(EXTRAS)))
	@$(BIN)/python -c 'import torch' 2>/dev/null || \
	  $(BIN)/pip install -q --disable-pip-version-check 'torch==$(TORCH)$(TORCH_LOCAL)' 2>/dev/null || \
	  $(BIN)/pip install -q --disable-pip-version-check --extra-index-url $(TORCH_INDEX) 'torch==$(TORCH)$(TORCH_LOCAL)'
endif
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

export: $(READY) ## TASK (det, seg, det3d), VARIANT, SCALE, PRECISION, TARGET, CHECKPOINT, SALIENCY, RECIPE, DATASET, FRAMES, RANGES, SET, OUT
	@$(BIN)/lzu-export export $(or $(RECIPE),$(TASK)) --out $(OUT) \
	  $(if $(VARIANT),--variant "$(VARIANT)") $(if $(SCALE),--scale $(SCALE)) \
	  $(if $(PRECISION),--precision "$(PRECISION)") $(if $(TARGET),--target "$(TARGET)") \
	  $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(if $(SALIENCY),--saliency "$(SALIENCY)") \
	  $(if $(FRAMES),--calibration "$(FRAMES)") $(if $(RANGES),--ranges "$(RANGES)") \
	  $(if $(DATASET),--dataset "$(DATASET)") $(if $(RANDOM_WEIGHTS),--random-weights $(RANDOM_WEIGHTS)) \
	  $(foreach pair,$(SET),--set '$(pair)') $(if $(FORCE),--force)

calibrate: $(READY) ## INT8 ranges of BUNDLE: FRAMES, COUNT, METHOD; SENSITIVITY=1: DATASET, EVAL_FRAMES, LIMIT, BY, RANGES
	@$(BIN)/lzu-export calibrate $(BUNDLE) $(if $(FRAMES),--calibration "$(FRAMES)") \
	  $(if $(COUNT),--count $(COUNT)) $(if $(METHOD),--method $(METHOD)) \
	  $(if $(PERCENTILE),--percentile $(PERCENTILE)) $(if $(SENSITIVITY),--sensitivity) \
	  $(if $(DATASET),--dataset "$(DATASET)") $(if $(EVAL_FRAMES),--frames $(EVAL_FRAMES)) \
	  $(if $(LIMIT),--limit $(LIMIT)) $(if $(BY),--by $(BY)) $(if $(RANGES),--ranges "$(RANGES)")

run: $(READY) ## BUNDLE on SOURCE (image, folder, video; det3d: CAMERAS too): pictures and results
	@$(BIN)/lzu-export run $(BUNDLE) $(SOURCE) $(if $(CAMERAS),--cameras "$(CAMERAS)") --show-warp

verify: $(READY) ## BUNDLE against PyTorch's reference
	@$(BIN)/lzu-export verify $(BUNDLE)

bench: $(READY) ## report of TASK: accuracy and latency, warped against uniform; VARIANT, SCALE, PRECISION, BUNDLES, ABLATION=1, ...
	@$(BIN)/lzu-export bench $(or $(RECIPE),$(TASK)) --out $(OUT) \
	  $(if $(BUNDLES),--bundles $(BUNDLES)) \
	  $(if $(VARIANT),--variant "$(VARIANT)") $(if $(SCALE),--scale "$(SCALE)") \
	  $(if $(PRECISION),--precision "$(PRECISION)") $(if $(TARGET),--target "$(TARGET)") \
	  $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(if $(SALIENCY),--saliency "$(SALIENCY)") \
	  $(if $(FRAMES),--calibration "$(FRAMES)") $(if $(DATASET),--dataset "$(DATASET)") \
	  $(if $(RANDOM_WEIGHTS),--random-weights $(RANDOM_WEIGHTS)) \
	  $(if $(MIN_SECONDS),--min-seconds $(MIN_SECONDS)) $(if $(ABLATION),--ablation) \
	  $(foreach pair,$(SET),--set '$(pair)')

bench-speed: $(READY) ## speed of TASK's full-size recipe: fixed against uniform, unzoom lowerings, export, import
	@$(BIN)/python -m lzu_benchmarks.speed --task $(TASK) --out $(OUT)/bench

train-det: $(READY) ## train both demonstration detectors from rendered scenes
	@$(BIN)/python -m lzu_benchmarks.train.det --out lzu_export/demo/det

train-adaptive: $(READY) ## train the adaptive demonstration detector, beside those of train-det
	@$(BIN)/python -m lzu_benchmarks.train.adaptive --out lzu_export/demo/det

train-seg: $(READY) ## train the demonstration models of segmentation
	@$(BIN)/python -m lzu_benchmarks.train.seg --out lzu_export/demo/seg

train-det3d: $(READY) ## train the demonstration models of 3-D detection
	@$(BIN)/python -m lzu_benchmarks.train.det3d --out lzu_export/demo/det3d

plugins: ## CUDA kernels and TensorRT plugins (CUDA_HOME, TENSORRT_INCLUDE, ARCHS)
	@$(MAKE) --no-print-directory -C plugins PYTHON=$(PYTHON) BUILD=$(abspath $(OUT))/plugins

plugins-aarch64: ## the same for JetPack 7, on this machine (cross compiler: g++-aarch64-linux-gnu)
	@$(MAKE) --no-print-directory -C plugins CROSS=aarch64 PYTHON=$(PYTHON) BUILD=$(abspath $(OUT))/plugins-aarch64

plugins-host: ## the same kernels for this processor: no GPU, no CUDA needed
	@$(MAKE) --no-print-directory -C plugins host BUILD=$(abspath $(OUT))/plugins

test: $(READY) ## lint, types and the fast tests (WORKERS side by side)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check -q . && $(BIN)/mypy
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile

test-slow: $(READY) browser cross ## full-size models, README commands, the report in a browser
	@$(BIN)/pytest -q -m slow

browser: ## headless Chromium for the test of the report, where there is none
	@command -v chromium-headless-shell chromium chromium-browser google-chrome >/dev/null || \
	  { as_root=$$(test "$$(id -u)" = 0 || echo sudo -n); \
	    $$as_root apt-get update -qq && \
	    $$as_root apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core >/dev/null; } || \
	  echo "no headless Chromium, and none could be installed: the test of the report skips itself" >&2

cross: ## cross compiler and emulator for the test of plugins-aarch64, where there are none
	@test "$$(uname -m)" = aarch64 || { command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64; } >/dev/null || \
	  { as_root=$$(test "$$(id -u)" = 0 || echo sudo -n); \
	    $$as_root apt-get update -qq && \
	    $$as_root apt-get install -y -qq --no-install-recommends g++-aarch64-linux-gnu qemu-user >/dev/null; } || \
	  echo "no cross compiler for aarch64, and none could be installed: the test of plugins-aarch64 skips itself" >&2

# TensorRT in a process of its own: with plugins it does not go together with TensorRT for RTX.
test-gpu: $(READY) ## what needs an NVIDIA GPU (EXTRAS=export,runtime,rtx,tensorrt,cuda,dev; plugins: after make plugins)
	@$(BIN)/pytest -q -m gpu --ignore tests/engines/test_gpu_tensorrt.py
	@$(BIN)/pytest -q -m gpu tests/engines/test_gpu_tensorrt.py

lint: $(READY) ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(READY) ## ruff's formatting
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

clean: ## remove bundles, results and the virtual environment
	rm -rf $(OUT) run
	@if ls $(VENV)/.ready-* >/dev/null 2>&1; then rm -rf $(VENV); fi
