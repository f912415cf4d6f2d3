"""What a device needs, torch-free: load a bundle, pre-process, run, post-process, draw."""
