"""Verify a bundle in one call, as `lzu_export.verify`."""

from pathlib import Path

from lzu_export.bundle.bundle import Bundle
from lzu_export.manifest.schema import Parity
from lzu_export.support.device import using_device
from lzu_export.targets.registry import refuse_idle
from lzu_export.verification.parity import verify_all


def verify(bundle: str | Path, *, provider: str = "cpu", device: int | None = None) -> list[Parity]:
    """Compare every engine of a bundle with PyTorch's stored values; imports no torch.

    Args:
        bundle: folder that an export made.
        provider: execution provider for ONNX Runtime's own files, see `load`.
        device: number of the GPU, see `load`. While the function runs it holds for the whole
            process.

    Returns:
        One comparison for each graph, and for each engine that runs on this machine's device.

    Raises:
        LzuError: the folder is no bundle, a file was changed, or an engine does not run.
    """
    opened = Bundle(bundle)
    opened.check()
    refuse_idle(device, [each.target for each in opened.manifest.engines], provider)
    with using_device(device):
        return verify_all(opened, provider=provider)
