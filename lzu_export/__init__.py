"""lzu_export: edge-deployment compiler for Learning to Zoom and Unzoom (LZU) models.

`load` opens a bundle for inference, `export` makes one from a recipe, `verify` compares one with
PyTorch. The three are imported when they are first used, so `import lzu_export` needs no torch.
"""

import os

from lzu_export.support.interpreter import leave_working_directory_out

leave_working_directory_out(("lzu_export", "lzu_benchmarks"))  # before anything else is imported

from typing import TYPE_CHECKING, Any  # noqa: E402

from lzu_export.support.former_names import keep_former_names  # noqa: E402
from lzu_export.support.lazy import lazily  # noqa: E402
from lzu_export.support.version import VERSION as __version__  # noqa: E402

keep_former_names()

# From release 1.29 on ONNX Runtime reports its use to its maker, and writes an identifier of the
# device into the user's cache folder for that. It reads this variable once, when it is imported,
# and so do the processes that we start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    export: Any
    load: Any
    verify: Any

__all__ = ["__version__", "export", "load", "verify"]
__getattr__ = lazily(
    __name__,
    {
        "export": "lzu_export.compiler.pipeline",
        "load": "lzu_export.bundle.load",
        "verify": "lzu_export.verification.verify",
    },
)
