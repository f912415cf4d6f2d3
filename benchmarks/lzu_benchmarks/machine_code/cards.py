"""Cards and architectures that kernels are bounded on, with the figures that the bounds use."""

from dataclasses import dataclass

WARP = 32
SCHEDULERS = 4
"""Warp instructions that a multiprocessor issues in a clock cycle, on every architecture here."""


@dataclass(frozen=True)
class Architecture:
    """Limits of a multiprocessor of one compute capability."""

    name: str
    warps: int
    """Largest number of resident warps."""
    blocks: int
    """Largest number of resident blocks."""
    shared: int
    """Bytes of shared memory that the resident blocks share."""
    registers: int = 65536


ARCHITECTURES = {
    each.name: each
    for each in (
        Architecture("87", 48, 16, 164 << 10),
        Architecture("89", 48, 24, 100 << 10),
        Architecture("90", 64, 32, 228 << 10),
        Architecture("110", 48, 24, 228 << 10),
        Architecture("120", 48, 24, 100 << 10),
    )
}

BLOCK_OVERHEAD = 1024
"""Bytes of shared memory that CUDA reserves for each resident block."""

LANES = {"fma": 128, "heavy": 64, "alu": 64, "xu": 16, "lsu": 32}
"""Results per clock cycle of a multiprocessor's pipes, the same on every architecture here.

`heavy` is the half of the `fma` pipe that executes integer multiply-adds and half precision. `lsu`
counts 4-byte words of a memory instruction's lanes, 128 bytes a cycle. Where architectures differ
(integer additions of compute capability 12.0, half precision of 9.0) the lower figure stands.
"""


@dataclass(frozen=True)
class Card:
    """A card, by the figures of its data sheet."""

    name: str
    architecture: str
    multiprocessors: int
    clock: float
    """Highest sustained clock in GHz."""
    bandwidth: float
    """Memory bandwidth in GB/s."""


CARDS = (
    Card("AGX Orin", "87", 16, 1.3, 204.8),
    Card("Orin Nano", "87", 8, 0.625, 68.0),
    Card("AGX Thor", "110", 20, 1.575, 273.0),
    Card("RTX 4090", "89", 128, 2.52, 1008.0),
    Card("RTX 5090", "120", 170, 2.41, 1792.0),
    Card("H200", "90", 132, 1.98, 4800.0),
)


def resident_blocks(architecture: Architecture, registers: int, shared: int, threads: int) -> int:
    """Compute the number of blocks that a multiprocessor holds at once.

    Args:
        architecture: limits of the multiprocessor.
        registers: registers of a thread; they are allotted to warps in steps of 256.
        shared: bytes of shared memory of a block.
        threads: threads of a block.
    """
    warps = -(-threads // WARP)
    of_warp = -(-registers * WARP // 256) * 256
    by_registers = architecture.registers // (of_warp * warps)
    by_shared = architecture.shared // (shared + BLOCK_OVERHEAD)
    return min(architecture.blocks, architecture.warps // warps, by_registers, by_shared)
