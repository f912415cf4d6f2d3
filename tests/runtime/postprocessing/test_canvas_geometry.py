"""Places on the canvas and in the frame."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lzu_export.runtime.postprocessing.geometry import CanvasGeometry
from lzu_export.warp.geometry import canvas_to_source
from postprocess_samples import setup

sizes = st.tuples(st.integers(2, 500), st.integers(2, 500))


@given(sizes, sizes, st.tuples(st.integers(0, 50), st.integers(0, 50)), st.data())
def test_a_pixel_s_centre_is_where_the_zoom_samples_it(
    canvas: tuple[int, int], view: tuple[int, int], corner: tuple[int, int], data: st.DataObject
) -> None:
    step = canvas_to_source(canvas, view)
    geometry = CanvasGeometry(canvas, canvas, step, corner, view, (600, 600))
    row, column = (data.draw(st.integers(0, n - 1)) for n in canvas)
    box = geometry.to_frame([column, row, column + 1, row + 1])
    centre = (box[:2] + box[2:]) / 2 - 0.5  # as an index of pixels
    labels = [-1 + 2 * i / (n - 1) for i, n in zip((column, row), canvas[::-1], strict=True)]
    sampled = [(label + 1) / 2 * (n - 1) for label, n in zip(labels, view[::-1], strict=True)]
    np.testing.assert_allclose(centre, np.add(sampled, corner[::-1]), atol=1e-9)
    np.testing.assert_allclose(box[2:] - box[:2], step[::-1], atol=1e-9)


def test_a_canvas_of_the_view_s_size_changes_no_box() -> None:
    recipe = setup({"kind": "raw"}, canvas=(120, 200), corner=(0, 0))
    boxes = [[0.0, 0.0, 200.0, 120.0], [3.25, 4.5, 8.0, 9.75]]
    np.testing.assert_array_equal(CanvasGeometry.of(recipe).to_frame(boxes), boxes)


def test_boxes_are_clipped_to_the_canvas_and_to_the_view() -> None:
    geometry = CanvasGeometry.of(setup({"kind": "raw"}))
    wide = [[-5.0, -5.0, 500.0, 500.0]]
    np.testing.assert_array_equal(geometry.within_canvas(wide), [[0, 0, 100, 60]])
    np.testing.assert_array_equal(geometry.within_view(wide), [[4, 10, 204, 130]])
    assert geometry.source == (130, 210)
    assert geometry.network_input == (64, 128)
