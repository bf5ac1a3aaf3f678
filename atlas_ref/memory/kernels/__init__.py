"""Kernels: fast forms of the memory, each beside the reference that it is judged against."""
