"""Tests of the study that times training passes."""

import json

import pytest

pytest.importorskip("torch", reason="the study times PyTorch")

import torch

from lzu_benchmarks.studies.training_speed import by_grid_sample, by_operator, main


def test_both_samplers_give_the_same_values_and_gradients() -> None:
    place = torch.tensor([0.25, 1.5, 3.75])
    rows, columns = (torch.stack([p.floor(), p % 1, p * 0 + 1, p * 0 + 1]) for p in (place, place))
    x = torch.randn(2, 3, 5, 6)
    found = []
    for make in (by_operator, by_grid_sample):
        mine = x.clone().requires_grad_()
        result = make(rows, columns)(mine)
        result.square().sum().backward()
        found.append((result.detach(), mine.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_every_pass_is_timed_beside_grid_sample(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json", "--queries", "2", "--channels", "2", "--batch", "1"])
    result = json.loads(capsys.readouterr().out)
    rows = {(row["part"], row["pass"]): row for row in result["rows"]}
    assert len(rows) == 4
    for row in rows.values():
        assert row["operator"] > 0
        assert row["grid_sample"] > 0
        assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]


def test_a_warp_on_a_plane_is_refused() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--recipe", "seg"])
    assert ended.value.code == 2
