"""Verify a bundle in one call, as `lzu_export.verify`."""

from pathlib import Path

from lzu_export.bundle.bundle import Bundle
from lzu_export.manifest.schema import Parity
from lzu_export.verification.parity import verify_all


def verify(bundle: str | Path, *, provider: str = "cpu") -> list[Parity]:
    """Compare every engine of a bundle with PyTorch's stored values; imports no torch.

    Args:
        bundle: folder that an export made.
        provider: execution provider for ONNX Runtime's own files, see `load`.

    Returns:
        One comparison for each graph, and for each engine that runs on this machine's device.

    Raises:
        LzuError: the folder is no bundle, a file was changed, or an engine does not run.
    """
    opened = Bundle(bundle)
    opened.check()
    return verify_all(opened, provider=provider)
