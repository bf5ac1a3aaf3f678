"""Kernels in Triton of what a block does beside its memory."""
