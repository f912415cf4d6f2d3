"""Part of CUDA that device sessions need, through cuda-python or PyCUDA."""
