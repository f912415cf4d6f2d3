"""Exportable decode of FCOS3D: mmdet3d's, with a fixed number of candidates and no threshold."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lzu_export.errors import LzuError
from lzu_export.models.margins import choice_margin, magnitude, positive
from lzu_export.models.shapes import static_shape
from lzu_export.support.limits import MAX_TOPK
from lzu_export.warp.anchors import check_levels

BOX = 9
"""Number of values of a box: centre x, y, z, length, height, width, yaw, velocity along x and z."""


def level_points(level_sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> list[Tensor]:
    """Compute the points that the cells of levels predict from, as mmdet3d places them.

    Args:
        level_sizes: (height, width) of every level in cells.
        strides: pixels per cell of every level.

    Returns:
        For every level (H * W, 2) float32 x, y in pixels of the network input: stride * (column,
        row) + stride // 2; rows vary slowest.

    Raises:
        LzuError: the numbers of sizes and strides differ.
    """
    check_levels(level_sizes, strides)
    levels = []
    for (height, width), stride in zip(level_sizes, strides, strict=True):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        levels.append(torch.stack([x, y], dim=-1).reshape(-1, 2).float() * stride + stride // 2)
    return levels


def decode_3d(
    groups: Sequence[Sequence[Tensor]],
    points: Sequence[Tensor],
    cam2img: Tensor,
    img2cam: Tensor,
    k_per_level: int = 1000,
    *,
    direction_offset: float = 0.7854,
    max_k: int = MAX_TOPK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode the best cells of every level to boxes in the camera's frame.

    Per level the k = min(k_per_level, cells) cells with the highest product of best class score and
    centerness are taken, in descending order where there are more than k cells and in the cells'
    order otherwise; K is the sum of k over levels. A cell keeps all its class scores, since
    suppression may find several classes in it. All arithmetic is float32.

    The camera's frame has x to the right, y down and z forward, in metres. At yaw 0 a box's length
    lies along x and its width along z; a positive yaw turns its heading from x towards -z.

    Args:
        groups: outputs of the head in eval mode, see `Fcos3dHead.forward`.
        points: per level (H * W, 2) float32, see `level_points`.
        cam2img: (B, 4, 4) camera matrices in pixels of the network input.
        img2cam: (B, 4, 4) inverses of cam2img; the caller inverts in float64, since no target can.
        k_per_level: candidates per level.
        direction_offset: offset of the rotation's period, see `Fcos3dConfig.direction_offset`.
        max_k: largest k of one TopK operator that the targets allow.

    Returns:
        Boxes (B, K, 9) float32: gravity centre x, y, z, length, height, width, yaw (radians, not
        wrapped), velocity along x and z; scores (B, K, classes) float32, class score times
        centerness; attributes (B, K) int64.

    Raises:
        LzuError: levels, points or camera matrices do not fit, or a level takes more than max_k.
    """
    _check_cameras(groups, cam2img, img2cam)
    chosen = _candidates(groups, points, k_per_level, max_k)
    raw = chosen.box
    attributes = chosen.attribute.argmax(dim=-1)
    centre = chosen.point - raw[..., :2]
    position = unproject(centre, raw[..., 2:3], img2cam.float())
    half_turn = (chosen.direction[..., 1:2] > chosen.direction[..., :1]).float() * math.pi
    local = raw[..., 6:7] - direction_offset
    local = local - (local / math.pi).floor() * math.pi + direction_offset + half_turn
    camera = cam2img.float()
    # The ray's bearing converts the angle relative to the ray into one in the camera's frame.
    bearing = arctan2(centre[..., :1] - camera[:, 0:1, 2:3], camera[:, 0:1, 0:1])
    boxes = torch.cat([position, raw[..., 3:6], local + bearing, raw[..., 7:9]], dim=-1)
    return boxes, chosen.score.sigmoid() * chosen.centerness.sigmoid(), attributes


def choice_margins(
    groups: Sequence[Sequence[Tensor]],
    points: Sequence[Tensor],
    k_per_level: int = 1000,
    *,
    direction_offset: float = 0.7854,
) -> Tensor:
    """Compute the margins (B, K, 2) float32 of the choices in `decode_3d`: attribute and heading.

    See `margins.choice_margin`. The heading also depends on where the rotation falls in its period
    of pi.
    """
    chosen = _candidates(groups, points, k_per_level, MAX_TOPK)
    _, box, direction, attribute, _ = (magnitude(group) for group in groups)
    turns = (chosen.box[..., 6] - direction_offset) / math.pi
    to_next_period = (turns - turns.round()).abs() * math.pi / positive(box)
    heading = torch.minimum(choice_margin(chosen.direction, -1, direction), to_next_period)
    return torch.stack([choice_margin(chosen.attribute, -1, attribute), heading], dim=-1)


class Candidates(NamedTuple):
    """Values of the best cells of all levels, with channels last and K candidates."""

    point: Tensor
    score: Tensor
    """Class logits of the candidates."""
    box: Tensor
    direction: Tensor
    attribute: Tensor
    centerness: Tensor


def _candidates(
    groups: Sequence[Sequence[Tensor]], points: Sequence[Tensor], k_per_level: int, max_k: int
) -> Candidates:
    batch, classes = _check(groups, points)
    entries, tables = [], []
    start = 0
    for level, maps in enumerate(zip(*groups, strict=True)):
        cells = static_shape(points[level])[0]
        k = min(k_per_level, cells)
        if k > max_k:
            raise LzuError(
                f"level {level} takes {k} candidates, more than the {max_k} of one TopK; "
                "lower k_per_level"
            )
        joined = torch.cat([each.float() for each in maps], dim=1)
        table = joined.permute(0, 2, 3, 1).reshape(batch, cells, -1)
        tables.append(table)
        if k == cells:
            entry = torch.arange(cells, device=table.device).expand(batch, cells)
        else:
            # The sigmoid is monotonic: the best logit has the best score.
            rank = table[..., :classes].amax(dim=-1).sigmoid() * table[..., -1].sigmoid()
            entry = rank.topk(k, dim=1).indices
        entries.append(entry + start)
        start += cells

    # One gather for all levels: a few large operators instead of many small ones per level.
    entry = torch.cat(entries, dim=1)
    count = static_shape(entry)[1]
    table = torch.cat(tables, dim=1)
    row = entry if batch == 1 else entry + start * torch.arange(batch).to(entry)[:, None]
    channels = static_shape(table)[2]
    values = table.reshape(batch * start, channels).index_select(0, row.reshape(-1))
    values = values.reshape(batch, count, channels)
    points_of = torch.cat([level.float() for level in points]).index_select(0, entry.reshape(-1))
    last = classes + BOX
    return Candidates(
        points_of.reshape(batch, count, 2),
        values[..., :classes],
        values[..., classes:last],
        values[..., last : last + 2],
        values[..., last + 2 : -1],
        values[..., -1:],
    )


def unproject(pixels: Tensor, depth: Tensor, img2cam: Tensor) -> Tensor:
    """Map pixels (B, N, 2) at depths (B, N, 1) in metres to (B, N, 3) in the camera's frame."""
    scaled = torch.cat([pixels * depth, depth, torch.ones_like(depth)], dim=-1)
    return (scaled @ img2cam.transpose(1, 2))[..., :3]


def arctan2(y: Tensor, x: Tensor) -> Tensor:
    """Compute the angle of (x, y) in [-pi, pi] by arc tangent and quadrant, as ONNX has no Atan2.

    x must not be zero; both tensors are floating-point.
    """
    angle = (y / x).atan()
    turn = torch.where(y < 0, -math.pi, math.pi).to(angle)
    return angle + torch.where(x < 0, turn, torch.zeros_like(turn))


def _check(groups: Sequence[Sequence[Tensor]], points: Sequence[Tensor]) -> tuple[int, int]:
    """Check that outputs and points fit, and return batch size and number of classes."""
    counts = [len(group) for group in groups]
    if len(groups) != 5 or set(counts) != {len(points)}:
        raise LzuError(
            f"decode_3d got {counts} levels of outputs and {len(points)} of points; give classes, "
            "boxes, directions, attributes and centerness, one of each per level"
        )
    batch, classes = static_shape(groups[0][0])[:2]
    attributes = static_shape(groups[3][0])[1]
    for level, maps in enumerate(zip(*groups, strict=True)):
        size = static_shape(maps[0])[2:]
        shapes = [static_shape(each) for each in maps]
        widths = (classes, BOX, 2, attributes, 1)
        cells = static_shape(points[level])[0]
        if shapes != [(batch, width, *size) for width in widths] or cells != math.prod(size):
            raise LzuError(
                f"level {level} has outputs {shapes} and {cells} points, which do not fit; make "
                "the points with the model's own strides and level sizes"
            )
    return batch, classes


def _check_cameras(groups: Sequence[Sequence[Tensor]], cam2img: Tensor, img2cam: Tensor) -> None:
    batch = static_shape(groups[0][0])[0] if groups and groups[0] else 0
    for name, matrix in (("cam2img", cam2img), ("img2cam", img2cam)):
        if static_shape(matrix) != (batch, 4, 4):
            raise LzuError(
                f"{name} has shape {static_shape(matrix)}; give one 4 x 4 matrix for each of the "
                f"{batch} images"
            )
