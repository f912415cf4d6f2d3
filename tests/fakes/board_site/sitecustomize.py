"""Give every process of an environment stand-ins of TensorRT and CUDA, as a board has the modules.

Python imports this at its start where the folder is on PYTHONPATH. Nothing else is imported until
a program asks for a vendor's module.
"""

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parents[2])


class _Vendors(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the vendors' modules, and none of their real ones."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ("tensorrt", "cuda", "pycuda"):
            return None
        if TESTS not in sys.path:
            sys.path.append(TESTS)
        from fakes.board import modules

        if name not in modules():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importlib.machinery.ModuleSpec(name, self, is_package="bindings" in name)

    def create_module(self, spec):
        from fakes.board import modules

        return modules()[spec.name]

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, _Vendors())
