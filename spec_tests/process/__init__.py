"""Ports in other processes: JSON lines on standard input and output, tensors in safetensors files."""
