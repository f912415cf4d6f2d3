"""A small RT-DETR of the package transformers, from a configuration, without any download."""

import torchvision_cpu  # noqa: F401
from torch import nn
from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

STRIDES = (8, 16, 32)


def rtdetr(classes: int, *, width: int = 64, queries: int = 100) -> nn.Module:
    """Build RT-DETR with a ResNet-vd of basic blocks and two decoder layers.

    Args:
        classes: number of classes.
        width: channels of the transformer.
        queries: number of queries, which is the largest number of boxes.
    """
    backbone = RTDetrResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 64, 128],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        num_labels=classes,
        encoder_in_channels=[32, 64, 128],
        encoder_hidden_dim=width,
        encoder_ffn_dim=2 * width,
        encoder_attention_heads=4,
        d_model=width,
        decoder_in_channels=[width] * len(STRIDES),
        decoder_ffn_dim=2 * width,
        decoder_attention_heads=4,
        decoder_layers=2,
        num_queries=queries,
        num_denoising=0,
        feat_strides=list(STRIDES),
        anchor_image_size=None,
    )
    model = RTDetrForObjectDetection(config)
    for module in model.modules():
        # The package expects pretrained convolutions: with its own first values features vanish.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return model
