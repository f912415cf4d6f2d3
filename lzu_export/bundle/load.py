"""Open a bundle for inference. Imports no torch."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from lzu_export.bundle.bundle import Bundle
from lzu_export.runtime.choice import make_choice
from lzu_export.runtime.fitting import fit_of
from lzu_export.targets.registry import find


def load(
    bundle: str | Path,
    *,
    target: str | None = None,
    precision: str | None = None,
    resize: bool = False,
    threads: int | None = None,
    provider: str = "cpu",
    cuda: str | None = None,
    plugins: Path | None = None,
    graph: bool | None = None,
    runtime_cache: bool = True,
    feedback: bool = True,
    host_code: bool = False,
    fit: str | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    class_agnostic: bool = False,
    classes: Collection[str] | None = None,
) -> Any:
    """Open a bundle for inference; imports no torch.

    The choice of results (`score_threshold` and what follows) replaces the recipe's `postprocess`
    within what the graph holds: it hands over at most `postprocess.candidates_per_level`
    candidates, the best of each level, which only another export changes. Boxes that an adaptive
    bundle feeds back stay those of the recipe's settings, and then stay on the host.

    Returns:
        A `Detector`, `Segmenter` or `Detector3d`, by the bundle's task.

    Args:
        bundle: folder that export made.
        target: engine to run; by default onnxruntime, which runs on any machine.
        precision: of the engine; by default the highest there is.
        resize: the same as fit `stretch`.
        threads: of ONNX Runtime on the CPU; all processors by default.
        provider: of ONNX Runtime: `cpu`, `cuda`, `tensorrt` (extra `gpu`), or a name of its own;
            one that does not load is refused, never replaced by the CPU.
        cuda: how the targets `tensorrt` and `tensorrt-rtx` reach the device: `cuda-python` or
            `pycuda`; by default the first that is installed.
        plugins: library of plugins for the target `tensorrt`, and of kernels that keep boxes on the
            device for both; by default the one that is found. One that is named has to fit.
        graph: whether those targets run as a CUDA graph; by default where it can be.
        runtime_cache: keep what TensorRT-RTX compiles in the user's folder of caches; else every
            start compiles.
        feedback: let boxes that an adaptive engine follows stay on the device, where they can.
        host_code: let a version-compatible engine of TensorRT run the code for the processor that
            it brings along; one that was built here may anyway.
        fit: what becomes of frames of another size than the source: `exact` refuses them (the
            default), `stretch` resizes each axis by itself, `pad` keeps the aspect and fills bars
            with the normalisation's mean. Results are in pixels of the frame either way.
        score_threshold: lowest score of a detection, exclusive, in [0, 1).
        iou_threshold: highest overlap of two detections, inclusive, in (0, 1].
        max_detections: most detections of a frame.
        class_agnostic: let a detection suppress those of other classes, too.
        classes: names of the classes that are found; others neither appear nor suppress.

    Raises:
        LzuError: no such bundle or engine, a file changed after the export, the target's libraries
            are missing, or the graph cannot serve the choice of results.
    """
    opened = Bundle(bundle)
    _ = opened.warp  # refused before anything is opened
    engines = opened.engines(target, precision)
    wanted = find(engines[0].target)
    kept_fit = fit_of(fit, resize)
    choice = make_choice(
        opened.recipe,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        class_agnostic=class_agnostic,
        classes=classes,
    )
    device = wanted.device(cuda)
    session = opened.open(
        wanted.pick(engines, device),
        threads=threads,
        provider=provider,
        cuda=device,
        library=plugins,
        graph=graph,
        runtime_cache=runtime_cache,
        feedback=feedback and not choice,  # its kernels have the recipe's settings
        host_code=host_code,
    )
    return opened.predictor(session, fit=kept_fit, choice=choice)
