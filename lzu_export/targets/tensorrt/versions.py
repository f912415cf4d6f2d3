"""Known-bad releases of TensorRT, with remedies and sources."""

import re
from dataclasses import dataclass

from lzu_export.errors import LzuError
from lzu_export.targets.cuda.memory import Device

OLDEST = (10, 3)
"""Oldest release that is supported, that of JetPack 6.1. The plugins of 8.6 have another interface,
and 10.0 to 10.2 run GridSample up to four times slower (release notes of 10.3)."""
UNKNOWN = (12,)
"""First major version that this package was not written for."""


@dataclass(frozen=True)
class KnownBad:
    """Range of releases with a known fault, and the engines that it concerns."""

    first: tuple[int, ...]
    """First release with the fault."""
    fixed: tuple[int, ...] | None
    """First release after it without the fault; None if none is known."""
    text: str
    """Description of the fault, with the remedy."""
    on_jetson: bool = False
    """Whether only devices that share the host's memory have the fault."""
    capability: str | None = None
    """Compute capability of the devices with the fault; None for all."""
    precisions: tuple[str, ...] = ()
    """Precisions with the fault; empty for all."""
    sampling: bool = False
    """Whether only engines with sampling layers have the fault."""
    portable: bool = False
    """Whether only engines for several cards (`--hardware`) have the fault."""

    def concerns(
        self,
        version: tuple[int, ...],
        device: Device,
        precision: str,
        sampling_layers: int,
        portable: bool,
    ) -> bool:
        """Whether an engine may have the fault."""
        return (
            self.first <= version
            and (self.fixed is None or version < self.fixed)
            and (device.integrated or not self.on_jetson)
            and self.capability in (None, device.capability)
            and (not self.precisions or precision in self.precisions)
            and (sampling_layers > 0 or not self.sampling)
            and (portable or not self.portable)
        )


KNOWN_BAD = (
    # pytorch/TensorRT#4074, open: FP32 sampling inside a strongly typed FP16 network.
    KnownBad(
        (10, 14, 1),
        None,
        "GridSample in FP32 inside an FP16 network was reported to give wrong values from 10.14.1 "
        "on; verify the engine, or lower the warps otherwise: separable ones as `auto` does, the "
        "others with lowering.zoom=gather and lowering.unzoom=gather",
        precisions=("fp16", "bf16", "int8"),
        sampling=True,
    ),
    # ultralytics/ultralytics#22873 and its fix, pull request #23499.
    KnownBad(
        (10, 0),
        (10, 15),
        "detections of a network were reported wrong on Jetson Thor before 10.15, in FP32 too; "
        "update TensorRT",
        capability="11.0",
    ),
    # ultralytics/ultralytics#23841 and its workaround, pull request #24368 (JetPack 6).
    KnownBad(
        (10, 3),
        (10, 7),
        "builds of INT8 networks were reported to fail with `checkLinks` before 10.7; where one "
        "does, build fp16 or update TensorRT",
        precisions=("int8",),
    ),
    # NVIDIA/TensorRT#4832, open: 10.16.2 on Orin; Thor builds the same file.
    KnownBad(
        (10, 16),
        None,
        "builds of INT8 networks were reported to fail on Orin with `Could not infer output types "
        "for operation: dequantize`, where a float32 layer reads a DequantizeLinear with an FP16 "
        "scale; where one does, keep the layers that the message names in float32 "
        "(higher_precision.fp16), or build fp16",
        capability="8.7",
        precisions=("int8",),
    ),
    # pytorch/TensorRT#4481, open: built for several cards, on A100 and H100, run on another one.
    KnownBad(
        OLDEST,
        None,
        "engines for several cards were reported to fail in convolutions on another card than the "
        "one that built them, and to leave arbitrary outputs; run `lzu-export verify` on every "
        "kind of card, or build there without --hardware",
        portable=True,
    ),
    # NVIDIA's release notes and migration pages of 11.0 to 11.4.1.
    KnownBad(
        (11, 0),
        (11, 4, 1),
        "TensorRT 11 supports JetPack from 11.4.1 on; use that, or the one of your JetPack",
        on_jetson=True,
    ),
)


def check_version(
    version: str,
    device: Device,
    precision: str = "fp32",
    sampling_layers: int = 0,
    portable: bool = False,
) -> list[str]:
    """Return sentences on the known faults of a release that concern an engine.

    Args:
        version: release of TensorRT, such as `10.16.2.10`.
        device: GPU that builds the engine.
        precision: precision of the engine.
        sampling_layers: number of GridSample layers in the engine.
        portable: whether the engine is for several cards (`--hardware`).

    Raises:
        LzuError: the release is too old.
    """
    release = numbers(version)
    if release < OLDEST:
        raise LzuError(
            f"TensorRT {version} is older than 10.3, which this package needs; update it (JetPack "
            "6.1 and later have it)"
        )
    notes = [
        f"TensorRT {version}: {known.text}"
        for known in KNOWN_BAD
        if known.concerns(release, device, precision, sampling_layers, portable)
    ]
    if release >= UNKNOWN:
        notes.append(f"TensorRT {version} is newer than any this release was written for")
    return notes


def numbers(version: str) -> tuple[int, ...]:
    """Return the numeric parts of a version: `10.16.2.10` as (10, 16, 2, 10)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
