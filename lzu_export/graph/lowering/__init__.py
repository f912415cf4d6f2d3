"""Lowerings of warps and deformable convolutions to standard operators, one file per operator."""
