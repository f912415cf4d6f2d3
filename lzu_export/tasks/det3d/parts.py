"""Build the parts of a monocular 3-D detector: FCOS3D, and a decode to boxes of the camera."""

from collections.abc import Sequence

from torch import Tensor, nn

from lzu_export.models.decode3d import choice_margins, decode_3d, level_points
from lzu_export.models.fcos3d import build_fcos3d
from lzu_export.recipes.schema import Det3dRecipe
from lzu_export.tasks.assemble import Parts

GROUPS = ("cls", "bbox", "dir", "attr", "centerness")
OUTPUTS = ("boxes", "scores", "attributes")


class Decode(nn.Module):
    """Decodes raw head outputs to candidates in the camera's frame."""

    def __init__(self, recipe: Det3dRecipe) -> None:
        """Place points on the recipe's levels."""
        super().__init__()
        points = level_points([level.size for level in recipe.levels], recipe.model.strides)
        for i, each in enumerate(points):
            self.register_buffer(f"points_{i}", each, persistent=False)
        self.levels = len(points)
        self.k_per_level = recipe.postprocess.candidates_per_level
        self.direction_offset = recipe.model.direction_offset

    def forward(
        self, groups: Sequence[Sequence[Tensor]], cam2img: Tensor, img2cam: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode five groups and B x 4 x 4 camera matrices of the canvas to candidates.

        Returns:
            Boxes B x K x 9, scores B x K x classes, attributes B x K int32; see
            `decode3d.decode_3d`.
        """
        boxes, scores, attributes = decode_3d(
            groups,
            self._points(),
            cam2img,
            img2cam,
            self.k_per_level,
            direction_offset=self.direction_offset,
        )
        return boxes, scores, attributes.int()

    def margins(self, groups: Sequence[Sequence[Tensor]], *_: Tensor) -> Tensor:
        """Compute the margins B x K x 2, float32, of attribute and heading."""
        return choice_margins(
            groups, self._points(), self.k_per_level, direction_offset=self.direction_offset
        )

    def _points(self) -> list[Tensor]:
        return [getattr(self, f"points_{i}") for i in range(self.levels)]


def parts(recipe: Det3dRecipe) -> Parts:
    """Make the parts of a monocular 3-D detector."""
    decode = Decode(recipe)
    return Parts(
        model=build_fcos3d(recipe.model),
        decode=decode,
        margins=decode.margins,
        groups=GROUPS,
        outputs=OUTPUTS,
    )
