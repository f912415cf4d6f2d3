"""YOLOX of the package pixeltable-yolox with random weights, without any download."""

import torchvision_cpu  # noqa: F401
from torch import nn
from yolox.models import YoloPafpn, YoloxHead, YoloxModule

LEVELS = ("dark2", "dark3", "dark4")
STRIDES = (4, 8, 16)
CHANNELS = (128, 256, 512)


def yolox(classes: int, *, width: float = 0.25, depth: float = 0.33) -> nn.Module:
    """Build YOLOX-nano with strides 4, 8 and 16, for objects of a few pixels.

    Args:
        classes: number of classes.
        width: factor of the channels; 0.25 is nano's.
        depth: factor of the number of layers.
    """
    backbone = YoloPafpn(depth, width, in_features=LEVELS, in_channels=CHANNELS, depthwise=True)
    backbone.backbone.out_features = LEVELS  # the backbone is made for strides 8, 16 and 32
    backbone.backbone.dark5 = nn.Identity()
    head = YoloxHead(
        classes, width, strides=list(STRIDES), in_channels=list(CHANNELS), depthwise=True
    )
    head.initialize_biases(1e-2)
    model = YoloxModule(backbone, head)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.03  # as the package's own training sets them
    return model
