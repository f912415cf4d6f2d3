"""The shipped detectors: what was trained is what is deployed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lzu_benchmarks.demo.dataset import DemoDataset  # noqa: E402
from lzu_benchmarks.train.det import Detector, detect  # noqa: E402
from lzu_benchmarks.train.figures import rows_spent, thirds_of_rows  # noqa: E402
from lzu_benchmarks.train.setup import Setup, zoom  # noqa: E402
from lzu_export.evaluation.metrics.coco import average_precision  # noqa: E402
from lzu_export.models.checkpoint import load_into, load_state  # noqa: E402
from lzu_export.recipes import load_recipe  # noqa: E402
from lzu_export.tasks.pytorch import assemble  # noqa: E402
from lzu_export.tasks.warps import make_warp  # noqa: E402


@pytest.mark.parametrize(("variant", "least"), [("uniform", 25), ("fixed", 30)])
def test_training_and_deployment_agree(variant: str, least: float) -> None:
    recipe = load_recipe("det-demo", {"variant": variant})
    setup = Setup()
    assert recipe.source == setup.source
    assert recipe.canvas == setup.canvas
    assert recipe.model == setup.config
    assert recipe.warp.saliency is not None
    saliency = np.load(recipe.warp.saliency).astype(np.float64) if variant == "fixed" else None
    trained = Detector(setup, saliency)
    path = recipe.checkpoint[variant]
    load_into(trained.network, load_state(path), name=str(path))
    trained.eval()
    deployed = assemble(recipe, make_warp(recipe), from_source=True)

    dataset = DemoDataset(range(8), range(0, 40, 20))
    matrices = setup.zoom_matrices(saliency)
    canvases, ids = [], []
    for number, (frame_id, _, image, _) in enumerate(dataset):
        canvas = zoom(image, matrices)
        canvases.append(canvas)
        ids.append(frame_id)
        if number == 0:
            with torch.inference_mode():
                frame = torch.from_numpy(image)[None]
                probes = dict(zip(deployed.output_names, deployed(frame), strict=True))
                logits, deltas = trained(torch.from_numpy(canvas)[None])
            for level, (cls, bbox) in enumerate(zip(logits, deltas, strict=True)):
                # Training rounded the canvas to bytes.
                assert (cls - probes[f"cls_{level}"]).abs().mean() < 0.02
                assert (bbox - probes[f"bbox_{level}"]).abs().mean() < 0.02
    found = detect(trained, setup, np.stack(canvases), ids)
    assert average_precision(dataset.coco_ground_truth(), found)["AP"] > least


def test_rows_are_those_of_the_source_s_thirds() -> None:
    even = np.linspace(-1, 1, 7)
    np.testing.assert_allclose(thirds_of_rows(even), [1 / 3] * 3)
    # The middle third of the source is seen by four of six steps.
    knots = np.array([-1, -1 / 3, -1 / 6, 0, 1 / 6, 1 / 3, 1])
    np.testing.assert_allclose(thirds_of_rows(knots), [1 / 6, 4 / 6, 1 / 6])


@pytest.mark.parametrize("task", ["seg", "det3d"])
def test_the_readme_tells_the_rows_of_the_warp_that_ships(task: str) -> None:
    recipe = load_recipe(task, {"variant": "fixed"})
    assert recipe.warp.saliency is not None
    text = (recipe.warp.saliency.parent / "README.md").read_text()
    assert rows_spent(thirds_of_rows(make_warp(recipe).knots_y)) in text
