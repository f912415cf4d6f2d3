"""Notes on the comparison over sequences, where boxes are fed back."""

from lzu_export.manifest.schema import Accuracy


def stream_notes(bundle: str, accuracy: Accuracy) -> list[str]:
    """Return notes on the comparison over sequences, starting with the bundle's name.

    There are none where no boxes are fed back.
    """
    stream = accuracy.stream
    if stream is None:
        return []
    mine, theirs = accuracy.engines[stream.engine], accuracy.pytorch
    same = f"all {stream.frames} frames are equal"
    if stream.unequal:
        same = f"{len(stream.unequal)} of {stream.frames} differ, frame {stream.unequal[0]} first"
    free = "none differs"
    if stream.parted:
        free = f"{len(stream.parted)} of {stream.frames} differ, frame {stream.parted[0]} first"
    metric = accuracy.metric
    return [
        f"{bundle}, {stream.engine.replace('/', ' ')} against PyTorch over sequences",
        f"  zoomed by the same boxes: {same}",
        f"    (within {stream.boxes:.1g} px and {stream.scores:.1g} of a score)",
        f"  each by its own boxes: {free}",
        f"    ({metric} {mine[metric]:.2f} and {theirs[metric]:.2f})",
    ]
