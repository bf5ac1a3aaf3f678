"""Calls of the recursion: a network small enough to differentiate by complex steps."""

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array

MODEL, HEADS, DIM, HIDDEN = 4, 2, 3, 5


def trm_inputs(seed: int, position: Array) -> dict[str, Array]:
    """Return features, an answer, a latent and a network for tokens at these positions of their documents."""
    shapes = {
        "query": (HEADS, DIM, MODEL),
        "key": (HEADS, DIM, MODEL),
        "value": (HEADS, DIM, MODEL),
        "output": (MODEL, HEADS, DIM),
        "gate": (HIDDEN, MODEL),
        "up": (HIDDEN, MODEL),
        "down": (MODEL, HIDDEN),
    }
    hidden = {name: normal(seed + number, *position.shape, MODEL) for number, name in enumerate("xyz")}
    matrices = {name: 0.7 * normal(seed + 3 + number, *shape) for number, (name, shape) in enumerate(shapes.items())}
    return {**hidden, "position": position, **matrices}
