"""See a warp before training: its magnification, its effect on boxes, and a picture of it.

Nothing here trains, exports or imports torch; warps come from recipes, bundles or files.
"""
