"""The part of CUDA that device sessions need, over cuda-python or over PyCUDA."""
