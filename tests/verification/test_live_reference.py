"""Reference values that PyTorch computes on the user's own frames with the bundle's weights."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Manifest, read_manifest
from lzu_export.models.checkpoint import save_checkpoint
from lzu_export.models.retinanet import build_retinanet
from lzu_export.runtime.reference import read_reference
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.tasks.weights import checkpoint_identity
from lzu_export.verification.live_reference import live_references
from lzu_export.verification.parity import verify_engine
from samples import noise_frames

Weights = Callable[[str, int], Path]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three frames that the bundle has not seen."""
    return noise_frames(tmp_path / "images", 3, seed=20)


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    """Manifest of the tiny bundle."""
    return read_manifest(tiny_bundle)


def from_checkpoint(manifest: Manifest, path: Path) -> Manifest:
    """Return the manifest that a bundle made from the checkpoint at `path` would have."""
    recipe = manifest.recipe.model_copy(update={"checkpoint": {"fixed": path}})
    portable = recipe.model_copy(update={"checkpoint": {"fixed": Path(path.name)}})
    return manifest.model_copy(
        update={"recipe": portable, "checkpoint": checkpoint_identity(recipe)}
    )


@pytest.fixture
def weights(tiny_recipe: dict[str, Any], tmp_path: Path) -> Weights:
    """Write a checkpoint of random weights into `tmp_path`, by file name and seed."""
    from lzu_export.models.random_weights import randomise
    from lzu_export.recipes.load import validate

    def write(name: str, seed: int) -> Path:
        model = build_retinanet(validate(tiny_recipe, "tiny").model)
        randomise(model, seed)
        save_checkpoint(tmp_path / name, model.state_dict(), half=False)
        return tmp_path / name

    return write


def test_untrained_weights_are_made_again(
    tiny_bundle: Path, manifest: Manifest, images: Path
) -> None:
    """Made from their seed, they agree with the bundle's engines at every probe point."""
    references = live_references(Bundle(tiny_bundle, manifest), images, None, 2)
    assert len(references) == 2
    np.testing.assert_array_equal(references[1].frames[0], noise_frame((96, 160), 21))
    parity = verify_engine(Bundle(tiny_bundle, manifest), manifest.engines[0], references)
    assert parity.status == "passed"
    assert 0 < max(parity.probes.values()) < 1e-5


def test_other_weights_are_told_apart(tiny_bundle: Path, manifest: Manifest, images: Path) -> None:
    """This makes sure that the test above cannot pass with any weights."""
    recipe = manifest.recipe.model_copy(update={"random_weights": 1})
    other = manifest.model_copy(update={"recipe": recipe})
    references = live_references(Bundle(tiny_bundle, other), images, None, 1)
    parity = verify_engine(Bundle(tiny_bundle, manifest), manifest.engines[0], references)
    assert parity.status == "failed"
    assert parity.probes["zoomed"] < 1e-5
    assert parity.probes["level_0"] > 0.01


def test_all_frames_where_there_are_fewer(
    tiny_bundle: Path, manifest: Manifest, images: Path
) -> None:
    """If there are fewer frames than the limit, all are used."""
    assert len(live_references(Bundle(tiny_bundle, manifest), images, None, 10)) == 3
    assert len(live_references(Bundle(tiny_bundle, manifest), images / "0.png", None, 10)) == 1


def test_the_checkpoint_is_the_bundles(
    tiny_bundle: Path, manifest: Manifest, images: Path, weights: Weights
) -> None:
    """It is recognised by its contents, not its name, and its weights are the ones that run."""
    path = weights("mine.pth", 0)
    made = from_checkpoint(manifest, path)
    moved = Path(shutil.copy(path, path.with_name("renamed.pth")))
    (reference,) = live_references(Bundle(tiny_bundle, made), images, moved, 1)
    (wanted,) = live_references(Bundle(tiny_bundle, manifest), images, None, 1)
    for name, value in wanted.probes.items():
        np.testing.assert_allclose(reference.probes[name], value, rtol=1e-4, atol=1e-4)


def test_another_checkpoint_is_refused(
    tiny_bundle: Path, manifest: Manifest, images: Path, weights: Weights
) -> None:
    """The error names the right one, or says that the bundle has untrained weights."""
    made = from_checkpoint(manifest, weights("mine.pth", 0))
    other = weights("other.pth", 1)
    with pytest.raises(LzuError, match=r"other\.pth is not the one .* give mine\.pth"):
        live_references(Bundle(tiny_bundle, made), images, other, 1)
    with pytest.raises(LzuError, match=r"other\.pth is not the one .* untrained weights"):
        live_references(Bundle(tiny_bundle, manifest), images, other, 1)


def test_a_missing_checkpoint_is_named(
    tiny_bundle: Path, manifest: Manifest, images: Path, weights: Weights
) -> None:
    """The checkpoint is given but does not exist, or is not given at all."""
    made = from_checkpoint(manifest, weights("mine.pth", 0))
    with pytest.raises(LzuError, match=r"gone\.pth does not exist"):
        live_references(Bundle(tiny_bundle, made), images, images / "gone.pth", 1)
    with pytest.raises(LzuError, match=r"--live needs the weights: give --checkpoint mine\.pth"):
        live_references(Bundle(tiny_bundle, made), images, None, 1)


def test_frames_that_do_not_fit_are_named(
    tiny_bundle: Path, manifest: Manifest, images: Path
) -> None:
    """The error names the file."""
    cv2.imwrite(str(images / "1.png"), noise_frame((96, 161), 0))
    with pytest.raises(LzuError, match=r"1\.png is 96x161 but this bundle takes 96x160"):
        live_references(Bundle(tiny_bundle, manifest), images, None, 2)


def test_reference_values_are_pytorchs(tiny_bundle: Path, manifest: Manifest, images: Path) -> None:
    """Every probe point is present and finite, and `zoomed` is the normalised zoomed image."""
    (reference,) = live_references(Bundle(tiny_bundle, manifest), images, None, 1)
    names = [f"{stem}_{i}" for stem in ("level", "unzoomed", "cls", "bbox") for i in range(3)]
    assert set(reference.probes) == {"zoomed", *names}
    assert all(np.isfinite(value).all() for value in reference.probes.values())
    assert set(reference.outputs) == {"boxes", "scores", "labels"}
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("grey", [124, 0])
def test_a_covered_lens_is_no_deviation(
    tiny_bundle: Path, manifest: Manifest, tmp_path: Path, grey: int
) -> None:
    """The normalised frame is nearly zero, so rounding relative to it must not fail."""
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((96, 160, 3), grey, np.uint8))
    (reference,) = live_references(Bundle(tiny_bundle, manifest), tmp_path, None, 1)
    own = read_reference(tiny_bundle / "reference.npz")[0].probes["zoomed"]
    assert reference.usual["zoomed"].largest >= np.abs(own).max()
    parity = verify_engine(Bundle(tiny_bundle, manifest), manifest.engines[0], [reference])
    assert parity.status == "passed"
    wrong = {name: values + 0.01 for name, values in reference.probes.items()}
    parity = verify_engine(
        Bundle(tiny_bundle, manifest), manifest.engines[0], [replace(reference, probes=wrong)]
    )
    assert parity.status == "failed"
