"""Outputs of engines on their device, compared with PyTorch's where order means nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes.world import World
from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.build_tensorrt import build_on_device
from lzu_export.manifest.schema import read_manifest
from lzu_export.verification.parity import verify_on_device


def test_scores_are_compared_by_rank_where_the_network_selects(bundle: Path, world: World) -> None:
    """An engine of a device is not given PyTorch's selection, so FP32 may order entries anew."""
    built, _ = build_on_device(bundle)
    opened, whole = Bundle(bundle, read_manifest(bundle)), world.compute
    world.compute = lambda inputs: {k: v[:, ::-1] for k, v in whole(inputs).items()}
    assert verify_on_device(opened, built).status == "failed"
    indices = {"selected_0": np.zeros((1, 4), np.int64)}
    references = [replace(each, selections=indices) for each in opened.references]
    parity = verify_on_device(opened, built, references)
    assert (parity.status, parity.limit, parity.outputs) == ("passed", None, {})
    assert parity.agreement is not None
    assert parity.agreement.scores == pytest.approx(1, abs=1e-5)


def test_of_lower_precisions_scores_are_compared_by_rank(bundle: Path, world: World) -> None:
    """Reordered candidates are no noise; scores of matched predictions have a limit."""
    built, _ = build_on_device(bundle)
    manifest, whole = read_manifest(bundle), world.compute
    lower = built.model_copy(update={"precision": "fp16"})
    world.compute = lambda inputs: {k: v[:, ::-1] for k, v in whole(inputs).items()}
    parity = verify_on_device(Bundle(bundle, manifest), lower)
    assert (parity.status, parity.limit, parity.snr_limit, parity.outputs) == (
        "passed",
        None,
        None,
        {},
    )
    assert parity.snr["scores"] > 100
    assert parity.agreement is not None
    assert parity.agreement.scores == pytest.approx(1, abs=1e-5)
    world.compute = lambda inputs: {
        k: v * 0.9 if k == "scores" else v for k, v in whole(inputs).items()
    }
    parity = verify_on_device(Bundle(bundle, manifest), lower)
    assert parity.snr["scores"] == pytest.approx(20, abs=0.1)  # 20 log10(1 / 0.1)
    assert (parity.status, parity.first.name) == ("failed", "matched scores")
    assert parity.agreement is not None
    assert parity.agreement.scores == pytest.approx(0.9, abs=0.02)
