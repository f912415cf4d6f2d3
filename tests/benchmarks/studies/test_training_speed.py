"""Tests of the study that times training passes."""

import json
from functools import partial

import pytest

pytest.importorskip("torch", reason="the study times PyTorch")

import torch

from lzu_benchmarks.studies import training_speed
from lzu_benchmarks.studies.training_speed import Case, cases, main
from lzu_export.recipes import load_recipe
from lzu_export.support.interleave import Plan


def samples_and_gradients(case: Case, kind: str) -> list[torch.Tensor]:
    tensors = [each.clone().requires_grad_(need) for each, need in case.inputs]
    results = list(case.samplers[kind](*tensors))
    torch.autograd.backward(results, [each.detach().cos() for each in results])
    slopes = [each.grad for each in tensors if each.requires_grad]
    assert len(slopes) == sum(need for _, need in case.inputs)
    return [*(each.detach() for each in results), *slopes]


@pytest.mark.parametrize("number", range(4))
def test_both_samplers_give_the_same_values_and_gradients(number: int) -> None:
    case = cases(load_recipe("det"), 2, 3)[number]
    for one, other in zip(
        *(samples_and_gradients(case, kind) for kind in ("operator", "grid_sample")), strict=True
    ):
        assert one.shape == other.shape
        scale = float(other.abs().max())
        assert scale > 0
        # Single positions in rows of 640 pixels are off by 1e-4, and where one passes a pixel's
        # centre, the slope is that of the other side.
        off = (one - other).abs() > 1e-4 * scale
        assert float(off.float().mean()) < 0.02
        assert float((one - other).abs().max()) < 0.2 * scale


def test_every_pass_is_timed_beside_grid_sample(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training_speed, "Plan", partial(Plan, block=1, warmup_seconds=0.0))
    main(["--json", "--queries", "2", "--channels", "2", "--batch", "1"])
    result = json.loads(capsys.readouterr().out)
    rows = {(row["part"], row["pass"]): row for row in result["rows"]}
    assert len(rows) == 8
    for row in rows.values():
        assert row["operator"] > 0
        assert row["grid_sample"] > 0
        assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]


def test_a_warp_on_a_plane_is_refused() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--recipe", "seg"])
    assert ended.value.code == 2
