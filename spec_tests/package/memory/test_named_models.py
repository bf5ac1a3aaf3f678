"""Every named model of the table is a rule of the package: equal reads and gradients, in both forms.

The proof of `docs/models.md`: the left side is a recurrence as its paper has it (`named_models`), the right side the
memory of the package under the rule that the table gives it.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from spec_tests.package.memory.miras_calls import TIGHT, gap
from spec_tests.package.memory.named_models import MODELS
from spec_tests.package.memory.named_runs import FORMS, apart, draw, published, published_mesa, remembered, solved
from spec_tests.port import Array
from spec_tests.sampling import crossed

ALLOWED = {"memora": 1e-10}
"""The printed form of Memora goes through the logarithm of small weights at every token, and loses digits there."""


def assert_same(
    recurrence: Callable[[dict[str, Array]], Array],
    package: Callable[[dict[str, Tensor]], Tensor],
    x: dict[str, Array],
    allowed: float = TIGHT,
) -> None:
    """Assert equal reads, and equal gradients of a projection of them along one direction of every input."""
    found = apart(recurrence, package, x)
    assert found.reads <= allowed
    assert {name for name, difference in found.gradients.items() if difference > allowed} == set()


@pytest.mark.parametrize(("name", "form"), crossed(MODELS, FORMS))
def test_a_named_model_is_the_rule_that_the_table_gives_it(name: str, form: str) -> None:
    """Kills: an error before retention for Gated DeltaNet; rows for columns; an implicit step without its denominator;
    the printed link of Moneta; a softmax over the other axis; a momentum or a window that the model has not.
    """
    model = MODELS[name]
    assert_same(
        lambda x: published(model.recurrence, model.constants, x),
        lambda x: remembered(name, model, x, form, (2, 3) if form == "chunked" else ()),
        draw(model),
        ALLOWED.get(name, TIGHT),
    )


def test_mesanet_is_the_ridge_scan() -> None:
    assert_same(published_mesa, solved, draw(None))


def test_gated_deltanet_is_not_the_error_at_the_previous_memory() -> None:
    """The names are alike: with gates below one the two differ by more than half of what is read."""
    name, model = "gated deltanet", MODELS["gated deltanet"]
    x = {key: torch.tensor(value) for key, value in draw(model).items()}
    previous = model._replace(rule={"name": "delta", "chunk": 1})
    retained, other = (remembered(name, row, x, "recurrent") for row in (model, previous))
    assert gap(other.numpy(), retained.numpy()) > 0.05
