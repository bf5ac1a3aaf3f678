"""What the adapter takes from the package."""

from warnings import catch_warnings, filterwarnings

with catch_warnings():
    # Its dependency assoc-scan uses torch.jit.script.
    filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
    from titans_pytorch import MemoryMLP, NeuralMemory, NeuralMemState
    from titans_pytorch.neural_memory import newtonschulz5

__all__ = ["MemoryMLP", "NeuralMemState", "NeuralMemory", "newtonschulz5"]
