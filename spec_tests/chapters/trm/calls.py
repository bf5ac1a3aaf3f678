"""Calls of the recursion: a network small enough to differentiate by complex steps."""

from spec_tests.drawing.inputs import normal
from spec_tests.port import Array

MODEL, HEADS, DIM, HIDDEN = 4, 2, 3, 5


SIZES = (MODEL, HEADS, DIM, HIDDEN)


def trm_inputs(seed: int, position: Array, sizes: tuple[int, int, int, int] = SIZES) -> dict[str, Array]:
    """Return features, an answer, a latent and a network for tokens at these positions of their documents.

    `sizes` are those of the model, the number of heads, and the widths of a head and of SwiGLU.
    """
    model, heads, dim, hidden_width = sizes
    shapes = {
        "query": (heads, dim, model),
        "key": (heads, dim, model),
        "value": (heads, dim, model),
        "output": (model, heads, dim),
        "gate": (hidden_width, model),
        "up": (hidden_width, model),
        "down": (model, hidden_width),
    }
    hidden = {name: normal(seed + number, *position.shape, model) for number, name in enumerate("xyz")}
    matrices = {name: 0.7 * normal(seed + 3 + number, *shape) for number, (name, shape) in enumerate(shapes.items())}
    return {**hidden, "position": position, **matrices}
