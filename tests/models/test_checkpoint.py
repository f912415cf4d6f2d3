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
from lzu_export.models.archive import read_meta
from lzu_export.models.checkpoint import (
    load_checkpoint,
    load_into,
    load_state,
    save_checkpoint,
)
from lzu_export.models.retinanet import RetinaNet, build_retinanet
from lzu_export.recipes.networks import RetinaNetConfig

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
    """The weights of its saliency network are stored like those of any network."""
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

    touched = False

    def __init__(self) -> None:
        self._log_history = np.arange(5.0)
        self._statistics = {"mean": np.mean, "self": type(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        HistoryBuffer.touched = True
        self.__dict__.update(state)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, zipped: bool) -> None:
    path, trace = tmp_path / "a.pth", tmp_path / "ran"
    torch.save(
        {"state_dict": {"a": torch.ones(1)}, "meta": Runs(trace)},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(LzuError, match=r"a\.pth was refused because it holds \w+\.mkdir, a call"):
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


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "extra",
    [
        HistoryBuffer(),
        {"loss": HistoryBuffer(), "of": [(HistoryBuffer(),)]},
        np.array([None]),
        np.zeros(1, [("a", "f4")]),
        HistoryBuffer,
        OrderedDict(a=HistoryBuffer()),
        {(1, (2, 3)): 4, 1.5: {1, 2}, b"x": bytearray(b"y")},
        {"momentum": torch.zeros(1000)},
    ],
)
def test_objects_beside_the_weights_are_left_alone(
    tmp_path: Path, extra: object, zipped: bool
) -> None:
    """An example are mmengine's training checkpoints, whose message_hub holds objects."""
    state = slim().state_dict()
    content = {"meta": {"hub": extra}, "message_hub": extra, "state_dict": state, "last": extra}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    HistoryBuffer.touched = False
    assert_equal_states(load_state(tmp_path / "a.pth"), state)
    assert not HistoryBuffer.touched


def test_two_forms_of_file_and_all_types_give_what_torch_gives(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "plain": whole,
        "turned": whole.permute(2, 0, 1),
        "part": whole[1, 1:, ::2],
        "number": torch.tensor(2.5),
        "none": torch.zeros(0, 3),
        "double": whole.double() / 3,
        "half": (whole / 7).half(),
        "brain": (whole / 7).bfloat16(),
        "count": torch.tensor(7),
        "mask": whole > 3,
        "parameter": nn.Parameter(whole),
    }
    for zipped in (True, False):
        torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        found = load_state(tmp_path / "a.pth")
        assert list(found) == list(state)
        for name, value in state.items():
            exact = value.float() if value.is_floating_point() else value
            assert torch.equal(found[name], exact), name
            assert found[name].dtype == exact.dtype


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": {f"_orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {f"_orig_mod.module.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {f"module.module.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {f"model._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {k.replace("neck.", "neck._orig_mod."): v for k, v in s.items()}},
        lambda s: {"model": s, "epoch": 3, "optimizer": {"state": {}}},
        lambda s: {"model_state_dict": s},
        lambda s: {"model": {"state_dict": {f"module.{k}": v for k, v in s.items()}}},
        lambda s: {"module": s, "global_steps": 7},
        lambda s: {"ema": {"module": s, "updates": 4}},
    ],
)
def test_what_trainers_wrap_weights_in_is_taken_off(wrap: Any, tmp_path: Path) -> None:
    state = slim().state_dict()
    torch.save(wrap(state), tmp_path / "a.pth")
    assert_equal_states(load_state(tmp_path / "a.pth"), state)


def test_a_network_of_one_s_own_may_call_a_part_of_itself_model(tmp_path: Path) -> None:
    net = nn.ModuleDict({"model": nn.Linear(2, 3)})
    torch.save(net.state_dict(), tmp_path / "a.pth")
    other = nn.ModuleDict({"model": nn.Linear(2, 3)})
    load_into(other, load_state(tmp_path / "a.pth"), name="a.pth")
    assert_equal_states(dict(other.state_dict()), dict(net.state_dict()))


def test_a_choice_between_averages_and_others_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = slim().state_dict()
    torch.save({"model": state, "model_ema": zeros_like(state)}, tmp_path / "a.pth")
    assert_equal_states(load_state(tmp_path / "a.pth"), state)
    assert "holds averaged weights, too, under model_ema; those under model are used" in (
        caplog.records[0].getMessage()
    )


def test_two_networks_in_one_file_are_refused(tmp_path: Path) -> None:
    weight = torch.ones(1)
    torch.save({"teacher.a": weight, "student.a": weight}, tmp_path / "a.pth")
    with pytest.raises(LzuError, match="holds two networks, teacher and student; re-save"):
        load_state(tmp_path / "a.pth")
    torch.save({"module.a": weight, "a": weight}, tmp_path / "a.pth")
    with pytest.raises(LzuError, match="holds a twice, with and without a wrapper's prefix"):
        load_state(tmp_path / "a.pth")


def test_a_whole_model_is_no_state_dict(tmp_path: Path) -> None:
    for content in (nn.Linear(2, 3), {"model": nn.Linear(2, 3), "epoch": 1}):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(
            LzuError, match=r"an object of torch\.nn\.modules\.linear\.Linear, whose"
        ):
            load_state(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "is quantised; save plain"),
        (
            lambda v: torch.quantize_per_channel(v, torch.ones(3), torch.zeros(3), 0, torch.qint8),
            "is quantised; save plain",
        ),
        (lambda v: v.to_sparse(), "is sparse; save plain"),
        (lambda v: v.to_sparse_csr(), "is sparse; save plain"),
        (lambda v: torch.nested.nested_tensor([v, v]), "is nested; save plain"),
        (lambda v: torch.empty(3, 2, device="meta"), "is without values; save plain"),
        (lambda v: v.to(torch.float8_e4m3fn), "stores conv.weight as float8_e4m3fn; give one"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_plain_numbers_are_named(make: Any, words: str, tmp_path: Path) -> None:
    torch.save({"bias": torch.ones(1), "conv.weight": make(torch.ones(3, 2))}, tmp_path / "a.pth")
    with pytest.raises(LzuError) as caught:
        load_state(tmp_path / "a.pth")
    assert "conv.weight" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda v: (v * 100).round().to(torch.int8),
            "as int8, but weights are floating-point; save",
        ),
        (lambda v: v.to(torch.complex64), "as complex64, but weights are floating-point; save"),
        (lambda v: v > 0, "as bool, but weights are floating-point; save"),
    ],
)
def test_numbers_that_are_no_weights_are_named(change: Any, words: str) -> None:
    net, before = slim(), slim().state_dict()
    name = "neck.fpn_convs.1.conv.weight"
    with pytest.raises(LzuError) as caught:
        load_into(net, {**before, name: change(before[name])}, name="a.pth")
    assert f"checkpoint a.pth holds {name} {words}" in str(caught.value)
    assert_equal_states(net.state_dict(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name", ["backbone.layer3.0.bn1.running_mean", "bbox_head.retina_reg.bias"]
)
def test_values_that_are_not_finite_are_named(name: str, value: float) -> None:
    net, before = slim(), slim().state_dict()
    wrong = before[name].clone()
    wrong.view(-1)[1] = value
    what = "NaN" if np.isnan(value) else "infinite values"
    with pytest.raises(LzuError) as caught:
        load_into(net, {**before, name: wrong}, name="a.pth")
    words = f"a.pth holds {what} in {name} (1 of {wrong.numel()} values); the training diverged"
    assert words in str(caught.value)
    assert_equal_states(net.state_dict(), before)


def test_doubles_beyond_float32_and_negative_variances_are_named(tmp_path: Path) -> None:
    state = slim().state_dict()
    large = {**state, "backbone.conv1.weight": state["backbone.conv1.weight"].double() + 1e300}
    torch.save(large, tmp_path / "a.pth")
    with pytest.raises(LzuError, match=r"holds infinite values in backbone\.conv1\.weight"):
        load_into(slim(), load_state(tmp_path / "a.pth"), name="a.pth")
    variance = "backbone.bn1.running_var"
    with pytest.raises(LzuError, match=r"holds negative variances in backbone\.bn1\.running_var"):
        load_into(slim(), {**state, variance: -state[variance]}, name="a.pth")


def test_meta_is_plain_data(tmp_path: Path) -> None:
    """Texts, numbers and lists are kept; other objects are dropped without an error."""
    meta = {"CLASSES": ("a", "b"), "scale": 0.5, "hub": HistoryBuffer(), "config": "x = 1"}
    torch.save({"meta": meta, "state_dict": {"a": torch.ones(1)}}, tmp_path / "a.pth")
    found = read_meta(tmp_path / "a.pth")
    assert {key: found[key] for key in ("CLASSES", "scale", "config")} == {
        "CLASSES": ("a", "b"),
        "scale": 0.5,
        "config": "x = 1",
    }
    assert load_checkpoint(tmp_path / "a.pth").meta.keys() == found.keys()
    torch.save({"a": torch.ones(1)}, tmp_path / "b.pth")
    assert read_meta(tmp_path / "b.pth") == {}


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_named_so(tmp_path: Path, zipped: bool) -> None:
    whole, part = tmp_path / "whole.pth", tmp_path / "part.pth"
    state = {"state_dict": slim().state_dict(), "meta": {"loss": np.float64(1)}}
    torch.save(state, whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    for length in [0, 1, 17, *range(100, len(data) - 8, len(data) // 23), len(data) - 8]:
        part.write_bytes(data[:length])
        words = "empty" if not length else "truncated or not a PyTorch checkpoint"
        with pytest.raises(LzuError, match=rf"part\.pth is {words}"):
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


def test_absent_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LzuError, match=r"absent\.pth does not exist"):
        load_state(tmp_path / "absent.pth")
    with pytest.raises(LzuError, match="is not a file but a folder"):
        load_state(tmp_path)
