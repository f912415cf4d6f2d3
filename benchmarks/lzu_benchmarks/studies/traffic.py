"""Compute lower bounds of the kernels' times on a card.

    python -m lzu_benchmarks traffic

prints the table of plugins/kernels/README.md. All figures are computed, none is measured: each
input value is read once and each output value written once, at the bandwidth of the data sheet.
Cards reach perhaps 75 to 85 % of that bandwidth.
"""

from collections.abc import Iterator, Sequence

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_export.cli import exits

NEEDS = "nothing more"

CARDS = {
    "Orin Nano": 68.0,
    "Orin NX": 102.4,
    "AGX Orin": 204.8,
    "AGX Thor": 273.0,
    "RTX 4060": 272.0,
    "RTX 3090": 936.0,
    "RTX 4090": 1008.0,
    "RTX 5090": 1792.0,
}
"""Memory bandwidth of each card in GB/s, from its data sheet."""

SOURCE = (1200, 1920)
CANVAS = (608, 960)
"""The network's input: 600 x 960 padded to a multiple of 32."""
LEVELS = ((76, 120), (38, 60), (19, 30), (10, 15), (5, 8))
CHANNELS = 256
LATTICE = (31, 51)
GRID = (75, 120)
BOXES = 100
CANDIDATES = 1000


def area(size: tuple[int, int]) -> int:
    """Return the number of cells of a size."""
    return size[0] * size[1]


def kernels() -> Iterator[tuple[str, int]]:
    """Yield each kernel's name and the bytes that it must move."""
    cells = sum(area(level) for level in LEVELS) * CHANNELS
    for name, width in (("FP32", 4), ("FP16", 2), ("INT8", 1)):
        yield f"unzoom P3 to P7, {name}", 2 * cells * width
    frame, output = area(SOURCE), 3 * area(CANVAS)
    yield "camera BGR or RGB to FP16", 3 * frame + 2 * output
    yield "camera BGR or RGB to FP32", 3 * frame + 4 * output
    yield "camera NV12 to FP16", frame * 3 // 2 + 2 * output
    yield "zoom plugin, FP16", 2 * 3 * frame + 2 * output
    yield "zoom plugin, FP32", 4 * 3 * frame + 4 * output
    # Read the boxes with their flags, write marginals and knots.
    yield f"box knots, {BOXES} boxes", BOXES * 20 + 2 * 4 * sum(LATTICE)
    yield "invert warp", 8 * area(LATTICE) + 8 * area(GRID)
    # Read the candidates, write them sorted, and read them again.
    yield f"suppression, {CANDIDATES} candidates", CANDIDATES * (24 + 2 * 28) + 100 * 24
    # Read the boxes with their scores, write them with their flags.
    yield f"feedback, {BOXES} boxes", BOXES * 20 + BOXES * 20


def table() -> str:
    """Return the table in Markdown."""
    lines = [
        "| kernel | MB | " + " | ".join(CARDS) + " |",
        "|---|---:" + "|---:" * len(CARDS) + "|",
    ]
    for name, count in kernels():
        times = (f"{count / bandwidth / 1e3:.3g}" for bandwidth in CARDS.values())
        lines.append(f"| {name} | {count / 1e6:.3g} | " + " | ".join(times) + " |")
    return "\n".join(lines)


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    add_json(parser)
    given = parser.parse_args(arguments)
    print_result(given.json, dict(kernels()), table())


if __name__ == "__main__":
    main()
