"""lzu_export: edge-deployment compiler for Learning to Zoom and Unzoom (LZU) models.

`load` opens a bundle for inference, `export` makes one from a recipe or a wrapped network, `verify`
compares one with PyTorch. `wrap` puts a `FixedWarp` around a network, and `suggest` lists where its
features can be unzoomed. All are imported when they are first used, so `import lzu_export` needs no
torch.
"""

import os

from lzu_export.support.interpreter import leave_working_directory_out

leave_working_directory_out(("lzu_export", "lzu_benchmarks"))  # before anything else is imported

from typing import TYPE_CHECKING  # noqa: E402

from lzu_export.support.former_names import keep_former_names  # noqa: E402
from lzu_export.support.lazy import lazily  # noqa: E402
from lzu_export.support.version import VERSION as __version__  # noqa: E402

keep_former_names()

# From release 1.29 on ONNX Runtime reports its use to its maker, and writes an identifier of the
# device into the user's cache folder for that. It reads this variable once, when it is imported,
# and so do the processes that we start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from lzu_export.bundle.load import load
    from lzu_export.compiler.door import export
    from lzu_export.verification.verify import verify
    from lzu_export.warp.fixed_warp import FixedWarp
    from lzu_export.wrapping.calls import Call
    from lzu_export.wrapping.learned import LearnedWarp
    from lzu_export.wrapping.suggest import suggest
    from lzu_export.wrapping.wrap import unwrap, wrap

__all__ = [
    "Call",
    "FixedWarp",
    "LearnedWarp",
    "__version__",
    "export",
    "load",
    "suggest",
    "unwrap",
    "verify",
    "wrap",
]
__getattr__ = lazily(
    __name__,
    {
        "Call": "lzu_export.wrapping.calls",
        "FixedWarp": "lzu_export.warp.fixed_warp",
        "LearnedWarp": "lzu_export.wrapping.learned",
        "export": "lzu_export.compiler.door",
        "load": "lzu_export.bundle.load",
        "suggest": "lzu_export.wrapping.suggest",
        "unwrap": "lzu_export.wrapping.wrap",
        "verify": "lzu_export.verification.verify",
        "wrap": "lzu_export.wrapping.wrap",
    },
)
