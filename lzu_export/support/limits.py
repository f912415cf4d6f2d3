"""Limits shared by several packages."""

MAX_TOPK = 3840
"""Largest number of candidates of one TopK operator in TensorRT."""

MOST_CANDIDATES = 8192
"""Largest number of a frame's candidates that the plugin library's suppression takes."""
MOST_BOXES = 1024
"""Largest number of a frame's fed-back boxes that the plugin library takes."""
MOST_LATTICE = 256
"""Largest number of lattice points on an axis from which the plugin BoxKnots makes knots."""
MOST_LEVELS = 8
"""Largest number of feature levels that the plugin SeparableUnzoom takes."""
MOST_TILES = 65536
"""Largest number of tiles between knots that the plugin InvertWarp takes."""
MOST_TILE_ROWS = 1024
"""Largest number of rows of tiles between knots that the plugin InvertWarp takes."""

IGNORED = 255
"""Label of pixels that belong to no class, as in Cityscapes' trainIds."""

EMULATED = "emulated"
"""Name in place of a target: a graph of lower precision in ONNX Runtime, with every half-precision
tensor rounded as on a device. It shows the cost of the precision; no bundle ships such a file."""
