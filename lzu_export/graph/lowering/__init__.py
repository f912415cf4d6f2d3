"""How warps and deformable convolutions become standard operators, one file a kind."""
