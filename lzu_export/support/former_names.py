"""Import modules by the names that they had before they were sorted into packages.

A script that imports a module by a former name, or runs it by `python -m`, gets the current module.
A DeprecationWarning, or a note for `python -m`, gives its current name.
"""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import Any

FORMER = {
    "lzu_benchmarks.accuracy": "lzu_export.evaluation.metrics.coco",
    "lzu_benchmarks.classes3d": "lzu_benchmarks.studies.classes3d",
    "lzu_benchmarks.compare": "lzu_benchmarks.bench.compare",
    "lzu_benchmarks.datasets": "lzu_benchmarks.demo.dataset",
    "lzu_benchmarks.deform_conv": "lzu_benchmarks.studies.deform_conv",
    "lzu_benchmarks.engine_share": "lzu_benchmarks.studies.engine_share",
    "lzu_benchmarks.evaluation": "lzu_benchmarks.demo.evaluation",
    "lzu_benchmarks.invert_warp": "lzu_benchmarks.studies.invert_warp",
    "lzu_benchmarks.latency": "lzu_benchmarks.harness.latency",
    "lzu_benchmarks.misregistration": "lzu_benchmarks.studies.misregistration",
    "lzu_benchmarks.nuscenes": "lzu_export.evaluation.metrics.nuscenes",
    "lzu_benchmarks.segmentation": "lzu_export.evaluation.metrics.segmentation",
    "lzu_benchmarks.speed": "lzu_benchmarks.studies.speed",
    "lzu_benchmarks.upsampling": "lzu_benchmarks.studies.upsampling",
    "lzu_export.datasets": "lzu_export.evaluation.datasets",
    "lzu_export.derive": "lzu_export.compiler.derive",
    "lzu_export.engines": "lzu_export.targets",
    "lzu_export.engines.base": "lzu_export.support.session",
    "lzu_export.engines.onnxruntime": "lzu_export.targets.onnxruntime",
    "lzu_export.evaluate": "lzu_export.evaluation.evaluate",
    "lzu_export.files": "lzu_export.support.files",
    "lzu_export.pipeline": "lzu_export.compiler.pipeline",
    "lzu_export.regression": "lzu_export.verification.regression",
    "lzu_export.runtime.bundle": "lzu_export.bundle.load",
    "lzu_export.runtime.images": "lzu_export.inputs.images",
    "lzu_export.runtime.manifest": "lzu_export.manifest.schema",
    "lzu_export.runtime.videos": "lzu_export.inputs.videos",
    "lzu_export.tasks.detection": "lzu_export.tasks.det.parts",
    "lzu_export.tasks.detection3d": "lzu_export.tasks.det3d.parts",
    "lzu_export.tasks.segmentation": "lzu_export.tasks.seg.parts",
}
"""Current name by former name of modules that scripts outside of this repository import."""


class _FormerNames(MetaPathFinder, Loader):
    """Finds modules by their former names."""

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that has another name now; None for any other module."""
        if name not in FORMER:
            return None
        now = find_spec(FORMER[name])
        origin = None if now is None else now.origin  # `python -m` shows it as the program
        return ModuleSpec(name, self, origin=origin, is_package=name == "lzu_export.engines")

    def exec_module(self, module: ModuleType) -> None:
        """Let the module forward its attributes to the current module."""
        now = FORMER[module.__name__]
        warnings.warn(
            f"{module.__name__} is {now} now; import that", DeprecationWarning, stacklevel=2
        )
        found = import_module(now)
        module.__doc__ = found.__doc__
        module.__getattr__ = lambda name: getattr(found, name)  # type: ignore[method-assign]

    def get_code(self, name: str) -> CodeType | None:
        """Return the code of the current module, for `python -m`."""
        print(f"note: {name} is {FORMER[name]} now", file=sys.stderr)
        spec = find_spec(FORMER[name])
        assert spec is not None
        code: CodeType | None = spec.loader.get_code(FORMER[name])  # type: ignore[union-attr]
        return code


def keep_former_names() -> None:
    """Make former names of modules importable, from now on in this process."""
    if not any(isinstance(each, _FormerNames) for each in sys.meta_path):
        sys.meta_path.append(_FormerNames())
