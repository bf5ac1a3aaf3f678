"""Measurements that anyone can repeat: speed and memory of one layer beside a peer, and growth of peak memory.

Run them from the root of the checkout with `make bench`, or one by one as `python -m benchmarks.memory_layer` and
`python -m benchmarks.scaling`. Nothing here is imported by the package or by its tests.
"""
