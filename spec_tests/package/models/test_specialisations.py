"""The three specialisations behave as they are named, and what is said of a model is what it does.

Every test names the fault that was put into the program by hand and that it caught.
"""

import pytest
import torch

from atlas_ref.config.specialisations import SPECIALISATIONS, specialised
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.errors import UserError
from atlas_ref.models.behaviour import MEASURES, Behaviour, behave
from atlas_ref.models.cognate import CognateModel
from atlas_ref.models.registry import build_model, family_of
from atlas_ref.models.serving import halting_steps, served
from atlas_ref.tasks.registry import task_of
from spec_tests.package.micro.models import VARIANTS, make_model
from spec_tests.package.micro.specialisations import SMALL

REASONING, MEMORY, SPEED = SPECIALISATIONS


def models() -> dict[str, CognateModel]:
    """Return the three with the same weights, which make tokens sure to different degrees."""
    made = {}
    for name, config in specialised(SMALL).items():
        model = build_model(config.any_model, 0)
        assert isinstance(model, CognateModel)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
            model.halting_head.weight.mul_(4.0)
            model.halting_head.bias.zero_()
        made[name] = model
    return made


def rows() -> Batch:
    """Return rows of which some places are not scored."""
    config = specialised(SMALL)[SPEED]
    batch = task_of(config.data).source(config, None).validation(0)
    batch.targets[:, ::5] = IGNORED
    return batch


def test_each_has_the_parameters_of_the_source() -> None:
    """Kills: a specialisation that is another model."""
    for config in specialised().values():
        assert family_of(config.any_model).count_parameters(config.any_model) == 26_974_561


def test_the_same_weights_think_longest_keep_most_and_answer_soonest() -> None:
    """Kills: the source's threshold of speed, the highest of all; its surprise, by which speed keeps most."""
    found = {name: Behaviour() for name in SPECIALISATIONS}
    for name, model in models().items():
        behave(model, *rows()[:3], None, found[name])
    means = {name: {key: sum(v) / len(v) for key, v in one.values.items()} for name, one in found.items()}
    assert means[REASONING]["iterations"] > means[MEMORY]["iterations"] > means[SPEED]["iterations"]
    assert means[MEMORY]["slots"] > means[REASONING]["slots"] > means[SPEED]["slots"] >= 1.0


@torch.no_grad()
def test_what_is_measured_is_what_the_model_serves() -> None:
    """Kills: iterations of places that are not scored; slots of all rows together; the last answers' accuracy."""
    model, batch, found = models()[MEMORY], rows(), Behaviour()
    behave(model, *batch[:3], None, found)
    output = model(batch.tokens, model.initial_state(len(batch.tokens)), batch.reset)
    steps, scored = halting_steps(output), batch.targets != IGNORED
    assert steps is not None
    right = served(output).logits.argmax(-1) == batch.targets
    in_use = output.state.ltm[0].slots[0].read_at >= 0
    for row in range(len(batch.tokens)):
        assert found.values["iterations"][row] == pytest.approx(float(steps[row][scored[row]].double().mean()))
        assert found.values["accuracy"][row] == pytest.approx(float(right[row][scored[row]].double().mean()))
        assert found.values["slots"][row] == int(in_use[row].sum())
    assert set(found.values) == set(MEASURES)
    assert found.values["latency"][0] > 0.0


def test_a_model_that_never_halts_has_no_such_behaviour() -> None:
    """Kills: a traceback of a model without a recursion."""
    with pytest.raises(UserError, match="never halts"):
        behave(make_model(next(iter(VARIANTS))), *rows()[:3], None, Behaviour())
