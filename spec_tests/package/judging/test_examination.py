"""Examples are judged in the way of their set: answers that are made up, and to real questions where those are there.

Every test names the mistake that was put into the program by hand and that it caught.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from atlas_ref.data.adapters.row import Example
from atlas_ref.data.packing import Example as Laid
from atlas_ref.data.tokenizer import ByteTokenizer
from atlas_ref.errors import UserError
from atlas_ref.judging.domains import domains_of
from atlas_ref.judging.examination import as_lines, examine, loss_of, some_of
from atlas_ref.judging.questions import read_questions
from atlas_ref.judging.respondent import Followed, Respondent
from atlas_ref.models.family import Model
from spec_tests.package.data.answer_inputs import shared_file
from spec_tests.package.micro.curriculum import write_sets

ROOM = 64


class Scripted(Respondent):
    """A respondent that says what a test wants, and finds each byte as likely as a test wants."""

    answer: Callable[[str], str]
    log_p: Callable[[int], float]
    asked: list[tuple[list[str], int]]

    def say(self, prompts: Sequence[str], most: int) -> list[str]:
        self.asked.append(([*prompts], most))
        return [self.answer(prompt) for prompt in prompts]

    def follow(self, laid: Sequence[Laid]) -> list[Followed]:
        scored = [each.targets[each.targets >= 0].tolist() for each in laid]
        return [Followed([self.log_p(x) for x in row], [self.log_p(x) > -1.0 for x in row]) for row in scored]


def scripted(answer: Callable[[str], str] = str, log_p: Callable[[int], float] = lambda _: -2.0) -> Scripted:
    found = Scripted(Model(), ByteTokenizer(), "\n", ROOM, 4)
    found.answer, found.log_p, found.asked = answer, log_p, []
    return found


def scores(name: str, examples: Sequence[Example], respondent: Scripted) -> list[float]:
    return [each.score for each in examine(respondent, name, examples).answered]


@pytest.mark.parametrize(
    ("name", "gold", "right", "wrong"),
    [
        ("svamp", "12", "so it is 12.0", "12 or 13"),
        ("gsm8k", "1200", "1+1\n#### 1,200 nails", "1200\n#### 1201"),
        ("drop", "Smith", "the smith.", "Smith threw"),
        ("hotpotqa", "Oslo", "Oslo", "Bergen"),
    ],
)
def test_what_is_written_is_judged_in_the_way_of_its_set(name: str, gold: str, right: str, wrong: str) -> None:
    """Kills: text compared as it is; the measure of another set; an example without its own answer."""
    examples = [Example("one", gold, gold), Example("two", gold, gold)]
    assert scores(name, examples, scripted({"one": right, "two": wrong}.__getitem__)) == [1.0, 0.0]


def test_a_description_has_the_f1_of_its_words() -> None:
    found = scores("codexglue", [Example("def f(): pass", "Add a to b", "Add a to b")], scripted(lambda _: "add b"))
    assert found == [pytest.approx(2 * 2 / (2 + 3))]


def test_a_choice_is_the_one_with_the_best_mean_of_its_bytes_and_end() -> None:
    """Kills: the sum, which is for short answers; the first of all; the end left out of the mean."""
    likely = {ord("a"): -3.0, ord("b"): -1.0, 256: -0.5}
    respondent = scripted(log_p=lambda token: likely[token])
    examples = [Example("p", "bbbb", "bbbb", ("a", "bbbb"), 1), Example("p", "a", "a", ("bb", "a"), 1)]
    found = examine(respondent, "piqa", examples)
    assert [(each.said, each.score) for each in found.answered] == [("bbbb", 1.0), ("bb", 0.0)]
    assert [(each.nats, each.tokens) for each in found.answered] == [(4.5, 5), (3.5, 2)]
    assert not respondent.asked


def test_next_tokens_are_a_share_of_each_example_and_programs_pass_or_do_not() -> None:
    """Kills: tokens counted where examples are; a program that is run though nobody asked; the wrong checks."""
    respondent = scripted(lambda prompt: f"code of {prompt}", lambda token: -0.5 if token == ord("a") else -2.0)
    examples = [Example("one", "aab", "aab", checks=("c1", "c2")), Example("two", "b" * 9, "b" * 9, checks=("c3",))]
    followed = examine(respondent, "mbpp", examples)
    assert (followed.measure, respondent.asked) == ("token_accuracy", [])
    assert [each.score for each in followed.answered] == [2 / 4, 0.0]
    seen: list[tuple[str, tuple[str, ...]]] = []

    def run(program: str, checks: Sequence[str]) -> bool:
        seen.append((program, (*checks,)))
        return program == "code of two"

    passed = examine(respondent, "mbpp", examples, run)
    assert (passed.measure, [each.score for each in passed.answered]) == ("pass@1", [0.0, 1.0])
    assert seen == [("code of one", ("c1", "c2")), ("code of two", ("c3",))]
    text = examine(respondent, "wikitext", [Example("", "b" + "ab" * 50, "")], run)
    assert (text.measure, [each.score for each in text.answered]) == ("token_accuracy", [50 / 101])


def test_an_answer_that_does_not_fit_is_counted_and_the_room_to_write_is_that_of_the_longest() -> None:
    """Kills: an answer that is cut; one too long that sets the room; more room than half a row."""
    respondent = scripted(lambda _: "1")
    long, short = "9" * (ROOM - 1), "9" * 11
    examples = [Example("p", long, long), Example("p", short, short), Example("p", "1", "1")]
    found = examine(respondent, "svamp", examples)
    assert (found.skipped, len(found.answered)) == (1, 2)
    examine(respondent, "svamp", [Example("p", "9" * (ROOM - 2), "9")])
    assert [most for _, most in respondent.asked] == [12, ROOM // 2]


def test_the_loss_is_over_tokens_and_domains_are_over_sets() -> None:
    """Kills: a mean of means; a domain weighed by its examples; a chance level of what is written."""
    respondent = scripted(lambda prompt: prompt, lambda token: -1.0 if token == 256 else -4.0)
    math = examine(respondent, "svamp", [Example(str(n), str(n), str(n)) for n in range(8)])
    other = examine(respondent, "asdiv", [Example("1", "2", "2"), Example("4", "4", "4")])
    choice = examine(respondent, "boolq", [Example("p", "yes", "yes", ("yes", "no"), 0)] * 3)
    assert loss_of([math, choice]) == pytest.approx((8 * 5 + 3 * 13) / (8 * 2 + 3 * 4))
    domains = {each.domain: each for each in domains_of([math, other, choice, examine(respondent, "drop", [])])}
    assert [*domains] == ["math", "qa"]
    assert (domains["math"].accuracy.value, domains["math"].accuracy.n) == (0.75, 10)
    assert (domains["math"].accuracy.chance, domains["qa"].accuracy.chance) == (0.0, 0.5)
    assert [(part.data_set.name, found.value) for part, found in domains["math"].sets] == [
        ("svamp", 1.0),
        ("asdiv", 0.5),
    ]
    assert as_lines(other)[0] == {
        "set": "asdiv",
        "measure": "number",
        "prompt": "1",
        "gold": "2",
        "said": "1",
        "score": 0.0,
    }


def test_the_examples_that_are_asked_are_the_same_ones_whatever_their_order() -> None:
    """Kills: the first of a file, which are often of one kind."""
    examples = [Example(f"prompt {n}", "a", "a") for n in range(50)]
    order = np.random.default_rng(1).permutation(50).tolist()
    chosen = some_of(examples, 7)
    assert {*chosen} == {*some_of([examples[n] for n in order], 7)} != {*examples[:7]}
    assert some_of(examples, None) == some_of(examples, 50) == examples


def test_nothing_is_asked_that_is_trained_on(tmp_path: Path) -> None:
    """Kills: a train split that is asked; the test split beside the validation split; a share that moves."""
    folder = write_sets(tmp_path)
    validation, test = (read_questions(folder, split, 1000, 0.3) for split in ("validation", "test"))
    assert {each.prompt for each in validation.asked["hellaswag"]} == {f"she has {n}" for n in range(5)}
    assert 0 < len(validation.asked["boolq"]) < 30
    assert all("and 1?" in each.prompt for each in validation.asked["gsm8k"])
    assert {each.prompt for each in test.asked["gsm8k"]} == {f"{n} and 5?" for n in range(3)}
    assert [*test.asked] == ["gsm8k"]
    assert len(test.absent) == 13
    assert "svamp" in validation.absent
    with pytest.raises(UserError, match="has no example of a test split to ask"):
        read_questions(folder / "boolq.jsonl", "test", 1000, 0.3)


def test_real_word_problems_are_right_where_their_numbers_are_said() -> None:
    """All of the test split of GSM8K: said as published, and one off."""
    file = shared_file("gsm8k_test.jsonl")
    if file is None:
        pytest.skip("gsm8k_test.jsonl does not lie beside the project")
    examples = read_questions(file, "test", 4096, 0.1).asked["gsm8k"]
    assert len(examples) == 1319
    gold = {example.prompt: example.gold for example in examples}
    for answer, right in (
        (lambda prompt: f"We get {gold[prompt]} because of 7.\n#### ${gold[prompt]}.00", 1.0),
        (lambda prompt: f"#### {gold[prompt]}1", 0.0),
    ):
        respondent = scripted(answer)._replace(length=4096)
        respondent.answer, respondent.log_p, respondent.asked = answer, lambda _: -2.0, []
        found = examine(respondent, "gsm8k", examples)
        assert ({each.score for each in found.answered}, found.skipped) == ({right}, 0)
