"""Training in several processes, in threads and on devices gives what one process gives."""

import copy
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lzu_export as lzu
from lzu_export.models.zoom import Resample, Unzoom
from lzu_export.warp.tables import TablePair
from samples import random_tables

STEPS, SHARE, SIZE = 6, 2, (24, 32)


class Net(nn.Module):
    """Fixed zoom, two convolutions, fixed unzoom."""

    def __init__(self) -> None:
        super().__init__()
        self.zoom = Resample(*random_tables(1, SIZE, (16, 20), antialias=True))
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1))
        self.unzoom = Unzoom([TablePair(*random_tables(2, (8, 10), (12, 16)))])

    def forward(self, frame: Tensor) -> Tensor:
        found: Tensor = self.unzoom(self.body(self.zoom(frame)))
        return found


def wrapped() -> nn.Module:
    """Return a network that is wrapped in a warp; hooks zoom its image and unzoom its features."""
    rows = np.linspace(-1, 1, 7)
    warp = lzu.FixedWarp.from_knots(
        np.linspace(-1, 1, 9), rows + 0.3 * np.sin(np.pi * rows), source=SIZE, canvas=(16, 20)
    )
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1))
    return lzu.wrap(nn.Sequential(body, nn.Conv2d(4, 4, 1)), warp, ["0"], multiple=2)


def losses(net: nn.Module, part: slice) -> list[float]:
    """Train on some of each step's frames; return the losses."""
    optimiser = torch.optim.SGD(net.parameters(), 0.2, momentum=0.9)
    found = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        frames = torch.rand(2 * SHARE, 3, *SIZE, generator=generator)[part]
        maps = net(frames)
        wanted = nn.functional.interpolate(frames.mean(1, keepdim=True), maps.shape[2:])
        loss = (maps - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found


def seeded() -> Net:
    torch.manual_seed(0)
    return Net()


NETWORKS = {"operators": seeded, "wrapped": wrapped}


def work(rank: int, folder: str, network: str) -> None:
    """Train one of two replicas on its share of the frames; write its losses and weights."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    try:
        net = nn.parallel.DistributedDataParallel(NETWORKS[network]())
        found = losses(net, slice(rank * SHARE, (rank + 1) * SHARE))
        torch.save([found, net.module.state_dict()], f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_two_processes_have_the_losses_of_one(network: str, tmp_path: Path) -> None:
    """DistributedDataParallel with gloo: each process trains on half of every batch."""
    torch.multiprocessing.spawn(work, (str(tmp_path), network), nprocs=2)
    shares, weights = zip(*(torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)), strict=True)
    whole = NETWORKS[network]()
    expected = losses(whole, slice(None))
    np.testing.assert_allclose(np.mean(shares, axis=0), expected, rtol=1e-5)
    assert expected[-1] < 0.9 * expected[0]
    for name, value in whole.state_dict().items():
        for each in weights:
            torch.testing.assert_close(each[name], value, rtol=1e-4, atol=1e-6)


def gradients(net: nn.Module, frames: Tensor) -> list[Tensor]:
    net.zero_grad()
    net(frames).square().sum().backward()
    return [each.grad.clone() for each in net.parameters() if each.grad is not None]


def assert_equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_replicas_in_threads_have_the_gradients_of_one() -> None:
    """DataParallel runs a replica per device in a thread each; here all of them on the CPU."""
    frames = torch.rand(8, 2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    net = seeded()
    expected = [gradients(net, each) for each in frames]
    replicas = [copy.deepcopy(net) for _ in frames]
    with ThreadPoolExecutor(len(frames)) as pool:
        found = list(pool.map(gradients, replicas, frames))
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)


def test_modules_are_replicated_with_their_tables() -> None:
    """A replica's tables are buffers of its own, which is how DataParallel moves them."""
    net = seeded()
    shared = net.zoom._replicate_for_data_parallel()
    assert set(shared._buffers) == set(net.zoom._buffers) == {"rows", "cols"}
    shared._buffers["rows"] = net.zoom.rows + 1
    assert not torch.equal(shared.rows, net.zoom.rows)
    loaded = pickle.loads(pickle.dumps(net))
    frame = torch.rand(1, 3, *SIZE)
    assert torch.equal(loaded(frame), net(frame))


def test_a_model_moves_between_devices_after_a_step() -> None:
    """What a step keeps on the CPU is not used on another device; `meta` stands for one."""
    net = seeded()
    frame = torch.rand(2, 3, *SIZE)
    expected = gradients(net, frame)
    moved = copy.deepcopy(net).to("meta")
    result = moved(frame.to("meta"))
    assert (result.device.type, result.shape) == ("meta", net(frame).shape)
    assert_equal(gradients(net, frame), expected)


@pytest.mark.gpu
def test_devices_have_the_gradients_of_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device")
    frames = torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    expected = gradients(seeded(), frames)
    net, given = seeded().cuda(), frames.cuda()
    net(given)
    torch.cuda.set_sync_debug_mode("error")  # the host may not wait for the device
    try:
        found = gradients(net, given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    parallel = gradients(nn.DataParallel(seeded().cuda()), given)
    for each in (found, parallel):
        for one, other in zip(each, expected, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-3)
