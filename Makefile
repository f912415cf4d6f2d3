# Every target sets up the virtual environment first if there is none. `make help` lists them.

# Values reach the commands through the environment, as "$$NAME": whatever is in them, such as blanks, quotes or $(...),
# is text. A list's words (SET, BUNDLES, ...) stand between blanks.

VENV   ?= .venv
PYTHON ?= python3
# An edge device needs no torch: EXTRAS=runtime. Never both `runtime` and `gpu`: they share files.
# The tools of developers wait for a target that needs them, so that the first export comes sooner.
ifneq ($(filter setup test test-slow test-gpu lint format,$(MAKECMDGOALS)),)
EXTRAS ?= export,runtime,rtx,bench,dev
else
EXTRAS ?= export,runtime,rtx,bench
endif
TASK   ?= det
OUT    ?= build
# Of the fast tests. All tests of a file run in one, since they share what is dear to make.
WORKERS ?= 2
# PyTorch's own index of CPU builds: the ones on PyPI bring several GB of CUDA libraries.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

VALUES := VENV PYTHON EXTRAS TASK OUT WORKERS TORCH_INDEX RECIPE VARIANT SCALE PRECISION TARGET CHECKPOINT SALIENCY \
  DATASET FRAMES RANGES RANDOM_WEIGHTS SET FORCE BUNDLE BUNDLES COUNT METHOD PERCENTILE SENSITIVITY EVAL_FRAMES LIMIT BY \
  SOURCE CAMERAS MIN_SECONDS ABLATION RIVALS CUDA_HOME TENSORRT_INCLUDE ARCHS
# A misspelt variable would be left out without a word. Those of the environment are not ours to judge.
override KNOWN := $(VALUES) CROSS BUILD CXX CXXFLAGS NVCCFLAGS HOSTFLAGS SHELL MAKE MAKEFLAGS MFLAGS MAKEOVERRIDES
override UNKNOWN := $(strip $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(filter-out $(KNOWN),$(name)))))
override NEAREST = $(shell printf '%s\n' '$(subst ','\'',$(1))' $(VALUES) | awk 'NR == 1 { wanted = toupper($$0); next } \
  { n = length(wanted); m = length($$0); for (j = 0; j <= m; j++) row[j] = j; \
    for (i = 1; i <= n; i++) { before = row[0]; row[0] = i; for (j = 1; j <= m; j++) { above = row[j]; \
      cost = before + (substr(wanted, i, 1) != substr($$0, j, 1)); if (row[j] + 1 < cost) cost = row[j] + 1; \
      if (row[j - 1] + 1 < cost) cost = row[j - 1] + 1; row[j] = cost; before = above } } \
    if (best == "" || row[m] < least) { best = $$0; least = row[m] } } END { print best }')
$(if $(UNKNOWN),$(error there is no variable $(firstword $(UNKNOWN)); did you mean $(call NEAREST,$(firstword $(UNKNOWN)))? `make help` lists the variables of each target))
# Make would expand what the user wrote, and run a $(shell ...) in it: from here on values are what stands there.
$(foreach name,$(VALUES),$(if $(filter-out undefined,$(origin $(name))),$(eval override $(name) := $$(value $(name)))\
  $(eval export $(name))))
# Not handed on to other makefiles by make itself, which would expand it again there.
MAKEOVERRIDES :=

override BIN := "$$VENV"/bin
# On a Jetson TensorRT comes with the system, for the system's Python.
override SYSTEM := $(if $(wildcard /etc/nv_tegra_release),--system-site-packages)
override TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)$(if $(filter Linux,$(shell uname -s)),+cpu)

# In the shell: the pairs of SET as options behind the others; a folder with blanks in its name, or several folders.
pairs   := set -f --; for pair in $$SET; do set -- "$$@" --set "$$pair"; done; set +f
folders := if [ -d "$$BUNDLES" ]; then set -- "$$@" --bundles "$$BUNDLES"; elif [ "$$BUNDLES" ]; then set -- "$$@" --bundles $$BUNDLES; fi
# OUT as the plugins' folder sees it.
above   := $$(case "$$OUT" in (/*) echo "$$OUT";; (*) echo "../$$OUT";; esac)

.PHONY: help setup environment docs export calibrate run verify bench bench-speed browser cross train-det train-adaptive train-rivals train-seg train-det3d plugins plugins-host plugins-aarch64 plugins-report contracts test test-slow test-gpu test-gpu-kernels lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

setup: environment ## make the virtual environment (VENV, PYTHON, EXTRAS)

# One stamp a choice of extras: an environment made for a device is not ready for an export, but one with the tools of
# developers besides is.
# Python compiles each module when it is first imported; pip would compile all of them, of which most never are.
# Where Python is told not to keep what it compiles, pip does it, since every start would compile again.
environment:
	@case $$EXTRAS in *[!a-z0-9,]*) echo "EXTRAS are names between commas, such as runtime,verify" >&2; exit 2;; esac; \
	  ready="$$VENV/.ready-$$(echo "$$EXTRAS" | tr , -)"; \
	  for stamp in "$$ready" "$$ready-dev"; do \
    if [ -e "$$stamp" ] && [ -z "$$(find pyproject.toml constraints.txt -newer "$$stamp")" ]; then exit 0; fi; \
  done; \
	  "$$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.10 to 3.13 is needed; name one: make PYTHON=python3.11 ..." >&2; exit 2; }; \
	  "$$PYTHON" -m venv $(SYSTEM) "$$VENV" || \
	  { echo "no virtual environment: install python3-venv, or name another PYTHON" >&2; exit 2; }; \
	  have=" $$(echo "$$EXTRAS" | sed 's|,|  |g') "; \
	  for wheel in "$$VENV"/lib/python*/site-packages/onnxruntime*.dist-info; do \
	    case $${wheel##*/} in onnxruntime_gpu-*) have="$$have gpu ";; onnxruntime-*) have="$$have runtime ";; esac; \
	  done; \
	  case "$$have" in *" runtime "*" gpu "*|*" gpu "*" runtime "*) \
	    echo "the extras runtime and gpu break each other in one environment: leave one out of EXTRAS," \
	      "or make another: VENV=.venv-gpu" >&2; exit 2;; esac; \
	  echo "setting up $$VENV with extras $$EXTRAS" >&2; \
	  pip() { $(BIN)/pip install -q $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile) --disable-pip-version-check "$$@"; }; \
	  case ",$$EXTRAS," in *,export,*) \
	    $(BIN)/python -c 'import torch' 2>/dev/null || pip 'torch==$(TORCH)' 2>/dev/null || \
	    pip --extra-index-url "$$TORCH_INDEX" 'torch==$(TORCH)' || exit;; esac; \
	  pip -c constraints.txt -e ".[$$EXTRAS]" && touch "$$ready"

export: environment ## TASK (det, seg, det3d), VARIANT, SCALE, PRECISION, TARGET, CHECKPOINT, SALIENCY, RECIPE, DATASET, FRAMES, RANGES, SET, OUT
	@$(pairs); $(BIN)/lzu-export export "$${RECIPE:-$$TASK}" --out "$$OUT" \
	  $(if $(VARIANT),--variant "$$VARIANT") $(if $(SCALE),--scale "$$SCALE") \
	  $(if $(PRECISION),--precision "$$PRECISION") $(if $(TARGET),--target "$$TARGET") \
	  $(if $(CHECKPOINT),--checkpoint "$$CHECKPOINT") $(if $(SALIENCY),--saliency "$$SALIENCY") \
	  $(if $(FRAMES),--calibration "$$FRAMES") $(if $(RANGES),--ranges "$$RANGES") \
	  $(if $(DATASET),--dataset "$$DATASET") $(if $(RANDOM_WEIGHTS),--random-weights "$$RANDOM_WEIGHTS") \
	  $(if $(FORCE),--force) "$$@"

calibrate: environment ## INT8 ranges of BUNDLE: FRAMES, COUNT, METHOD; SENSITIVITY=1: DATASET, EVAL_FRAMES, LIMIT, BY, RANGES
	@$(BIN)/lzu-export $(if $(SENSITIVITY),sensitivity,calibrate) $(if $(FRAMES),--calibration "$$FRAMES") \
	  $(if $(COUNT),--count "$$COUNT") $(if $(METHOD),--method "$$METHOD") \
	  $(if $(PERCENTILE),--percentile "$$PERCENTILE") \
	  $(if $(DATASET),--dataset "$$DATASET") $(if $(EVAL_FRAMES),--frames "$$EVAL_FRAMES") \
	  $(if $(LIMIT),--limit "$$LIMIT") $(if $(BY),--by "$$BY") $(if $(RANGES),--ranges "$$RANGES") \
	  -- $(if $(BUNDLE),"$$BUNDLE")

run: environment ## BUNDLE on SOURCE (image, folder, video; det3d: CAMERAS too): pictures and results
	@$(BIN)/lzu-export run $(if $(CAMERAS),--cameras "$$CAMERAS") --show-warp \
	  -- $(if $(BUNDLE),"$$BUNDLE") $(if $(SOURCE),"$$SOURCE")

verify: environment ## BUNDLE against PyTorch's reference
	@$(BIN)/lzu-export verify -- $(if $(BUNDLE),"$$BUNDLE")

bench: environment ## report of TASK: accuracy and latency, warped against uniform; VARIANT, SCALE, PRECISION, BUNDLES, ABLATION=1, RIVALS=1, ...
	@$(pairs); $(folders); $(BIN)/lzu-export bench "$${RECIPE:-$$TASK}" --out "$$OUT" \
	  $(if $(VARIANT),--variant "$$VARIANT") $(if $(SCALE),--scale "$$SCALE") \
	  $(if $(PRECISION),--precision "$$PRECISION") $(if $(TARGET),--target "$$TARGET") \
	  $(if $(CHECKPOINT),--checkpoint "$$CHECKPOINT") $(if $(SALIENCY),--saliency "$$SALIENCY") \
	  $(if $(FRAMES),--calibration "$$FRAMES") $(if $(DATASET),--dataset "$$DATASET") \
	  $(if $(RANDOM_WEIGHTS),--random-weights "$$RANDOM_WEIGHTS") \
	  $(if $(MIN_SECONDS),--min-seconds "$$MIN_SECONDS") $(if $(ABLATION),--ablation) \
	  $(if $(RIVALS),--rivals) "$$@"

bench-speed: environment ## speed of TASK's full-size recipe: fixed against uniform, unzoom lowerings, export, import
	@$(BIN)/python -m lzu_benchmarks.studies.speed --task "$$TASK" --out "$$OUT/bench"

train-det: environment ## train both demonstration detectors from rendered scenes
	@$(BIN)/python -m lzu_benchmarks.train.det --out benchmarks/demo/lzu_export_demo/det

train-adaptive: environment ## train the adaptive demonstration detector, beside those of train-det
	@$(BIN)/python -m lzu_benchmarks.train.adaptive --out benchmarks/demo/lzu_export_demo/det

train-rivals: environment ## train what a user might take instead of a warp (hours, resumes): larger inputs, a crop, tiles; TASK (det, seg)
	@folder=rivals; [ "$$TASK" = det ] || folder="rivals-$$TASK"; $(BIN)/python -m lzu_benchmarks.rivals.train \
	  --task "$$TASK" --out "$$OUT/$$folder" --work "$$OUT/train-$$folder"

train-seg: environment ## train the demonstration models of segmentation
	@$(BIN)/python -m lzu_benchmarks.train.seg --out benchmarks/demo/lzu_export_demo/seg

train-det3d: environment ## train the demonstration models of 3-D detection
	@$(BIN)/python -m lzu_benchmarks.train.det3d --out benchmarks/demo/lzu_export_demo/det3d

plugins: ## CUDA kernels and TensorRT plugins (CUDA_HOME, TENSORRT_INCLUDE, ARCHS)
	@$(MAKE) --no-print-directory -C plugins BUILD="$(above)/plugins"

contracts: environment ## write the YAML contracts of the plugins, and check the C++ sources with them
	@$(BIN)/python -m lzu_export.ops.contracts

plugins-aarch64: ## the same for JetPack 7, on this machine (cross compiler: g++-aarch64-linux-gnu)
	@$(MAKE) --no-print-directory -C plugins CROSS=aarch64 BUILD="$(above)/plugins-aarch64"

plugins-report: environment ## bounds of the kernels on cards from their machine code, no GPU: writes plugins/README.md
	@$(BIN)/python -m lzu_benchmarks plugins_report --out "$$OUT" --write

plugins-host: ## the same kernels for this processor: no GPU, no CUDA needed
	@$(MAKE) --no-print-directory -C plugins host BUILD="$(above)/plugins"

test: environment ## lint, types and the fast tests (WORKERS side by side)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check -q . && $(BIN)/mypy
	@$(BIN)/pytest -q -n "$$WORKERS" --dist loadfile

test-slow: environment browser cross ## full-size models, README commands, the report in a browser
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
test-gpu: environment ## what needs an NVIDIA GPU (EXTRAS=export,runtime,rtx,tensorrt,cuda,dev; plugins: after make plugins)
	@$(BIN)/pytest -q -m gpu --ignore tests/targets/test_gpu_tensorrt.py
	@$(BIN)/pytest -q -m gpu tests/targets/test_gpu_tensorrt.py

# Sets nothing up: for a machine as it is found, with nvcc and a PYTHON that has PyTorch with CUDA.
test-gpu-kernels: ## the kernels on this GPU, checked and timed, without TensorRT (PYTHON, CUDA_HOME, OUT)
	@PYTHONPATH="$(CURDIR):$(CURDIR)/benchmarks$${PYTHONPATH:+:$$PYTHONPATH}" \
	  "$$PYTHON" -m lzu_benchmarks.gpu_kernels --out "$$OUT/gpu-kernels.json"

# Beside the other extras, in the same environment.
docs: override EXTRAS := docs
docs: environment ## the site of README, docs and Python API: OUT/site/index.html; every warning is an error
	@$(BIN)/mkdocs build -q -f docs/site/mkdocs.yml -d "$$(realpath -m "$$OUT/site")"

lint: environment ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: environment ## ruff's formatting
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .

clean: ## remove bundles, results and the virtual environment
	rm -rf -- "$$OUT" run
	@if ls -- "$$VENV"/.ready-* >/dev/null 2>&1; then rm -rf -- "$$VENV"; fi
