"""Checkpoint files, sound and otherwise."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.models.config import RetinaNetConfig
from lzu_export.models.retinanet import RetinaNet, build_retinanet

SLIM = RetinaNetConfig(
    num_classes=3, depth=18, base_channels=2, fpn_channels=4, feat_channels=4, stacked_convs=1
)


def slim(**changes: Any) -> RetinaNet:
    torch.manual_seed(0)
    return build_retinanet(SLIM.model_copy(update=changes))


def zeros_like(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in state.items()}


def assert_equal_states(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def forms(state: dict[str, Tensor]) -> dict[str, object]:
    """What files of mmdet 2.x and 3.x look like; only `state` must come out of them."""
    prefixed = {f"module.{name}": value for name, value in state.items()}
    last = zeros_like(state)
    buffers = {"ema_" + name.replace(".", "_"): value for name, value in last.items()}
    return {
        "bare": state,
        "mmdet2": {"meta": {"CLASSES": ("a", "b"), "epoch": 3}, "state_dict": OrderedDict(state)},
        "parallel": {"state_dict": prefixed},
        "mmengine_ema": {
            "state_dict": state,
            "ema_state_dict": {
                **{f"module.{name}": value for name, value in last.items()},
                "steps": torch.tensor(7),
            },
        },
        "mmengine_ema_alone": {"ema_state_dict": {**prefixed, "steps": torch.tensor(7)}},
        "mmdet2_ema": {"state_dict": {**state, **buffers}},
        "numpy_meta": {
            "meta": {"loss": np.float64(0.5), "iter": np.int64(3), "lr": np.ones(2, np.float32)},
            "state_dict": state,
        },
    }


@pytest.mark.parametrize("form", list(forms({})))
def test_every_form_of_checkpoint_gives_the_same_weights(form: str, tmp_path: Path) -> None:
    state = slim().state_dict()
    torch.save(forms(state)[form], tmp_path / "a.pth")
    assert_equal_states(load_state(tmp_path / "a.pth"), state)


def test_numpy_numbers_of_either_module_name_load(tmp_path: Path) -> None:
    torch.save({"meta": np.float64(2), "state_dict": {"a": torch.ones(1)}}, tmp_path / "a.pth")
    data = (tmp_path / "a.pth").read_bytes()
    assert (b"cnumpy.core.multiarray\n" in data) != (b"cnumpy._core.multiarray\n" in data)
    for package in ("core", "_core"):
        # Through the older file format, which has no checksums to keep right.
        torch.save(
            {"meta": np.float64(2), "state_dict": {"a": torch.ones(1)}},
            tmp_path / "b.pth",
            _use_new_zipfile_serialization=False,
        )
        data = (tmp_path / "b.pth").read_bytes()
        for present in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
            data = data.replace(present, f"numpy.{package}.multiarray".encode())
        (tmp_path / "b.pth").write_bytes(data)
        assert list(load_state(tmp_path / "b.pth")) == ["a"]


def test_buffers_of_an_ema_hook_alone_fill_a_model() -> None:
    source, target = slim(), slim()
    for parameter in target.parameters():
        nn.init.zeros_(parameter)
    buffers = {"ema_" + k.replace(".", "_"): v for k, v in source.state_dict().items()}
    load_into(target, buffers, name="a.pth")
    assert_equal_states(target.state_dict(), source.state_dict())


def test_half_precision_storage_becomes_float32(tmp_path: Path) -> None:
    state = {"a": torch.rand(3).half(), "b": torch.rand(3).bfloat16(), "n": torch.tensor(3)}
    torch.save(state, tmp_path / "a.pth")
    loaded = load_state(tmp_path / "a.pth")
    assert [v.dtype for v in loaded.values()] == [torch.float32, torch.float32, torch.int64]
    torch.testing.assert_close(loaded["a"], state["a"].float())


def test_saved_weights_come_back(tmp_path: Path) -> None:
    net, path = slim(), tmp_path / "a.pth"
    save_checkpoint(path, net.state_dict(), meta={"data": "scenes"})
    other = slim()
    load_into(other, load_state(path), name=path.name)
    for name, value in net.state_dict().items():
        exact = value.half().float() if value.ndim >= 2 else value
        assert torch.equal(other.state_dict()[name], exact)
    assert torch.load(path, weights_only=True)["meta"] == {"data": "scenes"}

    save_checkpoint(path, net.state_dict(), half=False)
    assert_equal_states(load_state(path), net.state_dict())
    save_checkpoint(tmp_path / "another_name.pth", net.state_dict(), half=False)
    assert path.read_bytes() == (tmp_path / "another_name.pth").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"a.pth", "another_name.pth"}


def test_a_warp_s_parameters_keep_their_digits(tmp_path: Path) -> None:
    """Its saliency network is a network like any other."""
    values = torch.rand(7, 11, generator=torch.Generator().manual_seed(0))
    state = {
        "warp.logits": values,
        "warp.amplitude": values[0, 0],
        "warp.network.conv.weight": values,
        "conv.weight": values,
    }
    save_checkpoint(tmp_path / "a.pth", state)
    found = load_state(tmp_path / "a.pth")
    for name in ("warp.logits", "warp.amplitude"):
        assert torch.equal(found[name], state[name])
    for name in ("warp.network.conv.weight", "conv.weight"):
        assert torch.equal(found[name], values.half().float())


def test_what_cannot_be_saved_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    save_checkpoint(path, {"a": torch.ones(2, 2)})
    before = path.read_bytes()
    with pytest.raises(LzuError, match=r"weights a exceed.*half=False"):
        save_checkpoint(path, {"a": torch.full((2, 2), 1e5)})
    assert path.read_bytes() == before
    with pytest.raises(LzuError, match="cannot be written"):
        save_checkpoint(tmp_path / "absent" / "a.pth", {"a": torch.ones(2, 2)})


def test_missing_counters_are_no_error() -> None:
    net = slim()
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_into(net, state, name="a.pth")


def test_another_number_of_classes_is_named_as_such() -> None:
    with pytest.raises(LzuError, match=r"^checkpoint a\.pth has 80 classes, recipe has 3;"):
        load_into(slim(), slim(num_classes=80).state_dict(), name="a.pth")


def test_what_does_not_fit_is_listed_in_one_sentence() -> None:
    net, before = slim(), slim().state_dict()
    state = slim(fpn_channels=8, depth=34).state_dict()
    del state["backbone.conv1.weight"]
    state["extra"] = torch.zeros(1)
    with pytest.raises(LzuError) as caught:
        load_into(net, state, name="a.pth")
    message = str(caught.value)
    assert "1 missing (backbone.conv1.weight)" in message
    assert "unexpected (backbone.layer1.2." in message
    assert " more)" in message
    assert "neck.lateral_convs.0.conv.weight (8, 4, 1, 1) instead of (4, 4, 1, 1)" in message
    assert "recipe's model fields" in message
    assert len(message) < 900
    assert_equal_states(net.state_dict(), before)


class Runs:
    """Pickled as a call that would make a folder when loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


class HistoryBuffer:
    """Stands for mmengine's class of that name, which its training checkpoints hold."""


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, zipped: bool) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "ran"
    torch.save(
        {"state_dict": {"a": torch.ones(1)}, "meta": Runs(trace)},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(LzuError, match=r"a\.pth was refused because it holds \w+\.mkdir.*re-save"):
        load_state(path)
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_does_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "a.pkl", tmp_path / "ran"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Runs(trace), protocol))
        with pytest.raises(LzuError, match=r"a\.pkl"):
            load_state(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "extra",
    [HistoryBuffer(), np.array([None]), np.zeros(1, [("a", "f4")])],
    ids=["history", "objects", "structured"],
)
def test_objects_beside_the_weights_are_refused_with_a_remedy(
    tmp_path: Path, extra: object
) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "hub": extra}, tmp_path / "a.pth")
    with pytest.raises(LzuError, match=r"it holds [\w.]*(HistoryBuffer|DType), .*re-save"):
        load_state(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_named_so(tmp_path: Path, zipped: bool) -> None:
    whole, part = tmp_path / "whole.pth", tmp_path / "part.pth"
    state = {"state_dict": slim().state_dict(), "meta": {"loss": np.float64(1)}}
    torch.save(state, whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    for length in [0, 1, 17, *range(100, len(data) - 8, len(data) // 23), len(data) - 8]:
        part.write_bytes(data[:length])
        with pytest.raises(LzuError, match=r"part\.pth is truncated or not a PyTorch checkpoint"):
            load_state(part)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list"),
        ({}, "no tensors"),
        ({"a": 1, "b": torch.ones(1)}, r"no tensors \(a\)"),
    ],
)
def test_files_without_a_state_dict_are_refused(
    tmp_path: Path, content: object, message: str
) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(LzuError, match=message):
        load_state(tmp_path / "a.pth")


def test_absent_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"absent\.pth is not a file"):
        load_state(tmp_path / "absent.pth")
    with pytest.raises(LzuError, match="is not a file"):
        load_state(tmp_path)
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(LzuError, match="not a PyTorch checkpoint"):
        load_state(tmp_path / "page.pth")
