"""Texts, tokenizers, contiguous streams and synthetic tasks: batch = f(seed, step)."""
