"""Episodes as data: what is asked for, what is shown, and that nothing but storage knows a drawn answer.

Every test names the fault that it is there for.
"""

import numpy as np
import pytest
import torch

from atlas_ref.config import load_config
from atlas_ref.data.batch import IGNORED, Batch, Episode, EpisodicSource
from atlas_ref.data.streams import open_source
from atlas_ref.data.tokenizer import ByteTokenizer
from atlas_ref.data.words import Words
from atlas_ref.errors import UserError
from spec_tests.package.micro.episodes import EPISODES, WITH_TEXT
from spec_tests.package.micro.runs import micro_config

P, OPERATION, EQUALS, MASK = 7, 7, 8, 9


def source_of(*overrides: str) -> EpisodicSource:
    source = open_source(micro_config(*EPISODES, *overrides))
    assert isinstance(source, EpisodicSource)
    return source


def known(batch: Batch) -> Episode:
    assert batch.episode is not None
    return batch.episode


def test_the_steps_of_an_episode_are_its_parts_for_every_seed_and_step() -> None:
    """Kills: a generator that is kept; an episode drawn at each step; the seed left out; validation by the seed."""
    whole, parts = source_of("train.seed=5"), source_of("train.seed=5", "data.sequence_length=10")
    for number in (3, 0):
        joined = [torch.cat(x, 1) for x in zip(*(parts.batch(4 * number + n).tensors() for n in range(4)), strict=True)]
        # The weights are those of a step, which has only some of the targets.
        assert all(map(torch.equal, joined[:-1], whole.batch(number).tensors()[:-1]))
    other = source_of("train.seed=6")
    assert not torch.equal(other.batch(0).tokens, whole.batch(0).tokens)
    assert torch.equal(other.validation(2).tokens, whole.validation(2).tokens)
    phases = other.episode(2)
    assert torch.equal(torch.cat([phases.storage.tokens, phases.retrieval.tokens], 1), whole.validation(2).tokens)


def test_every_drawn_sum_is_stored_then_asked_for_and_never_shown_again() -> None:
    """Kills: an answer left beside its mask; a question of another piece; a pair asked for twice; memories that begin
    with the questions; contexts that do not.
    """
    batch = source_of().batch(1)
    stored, asked = batch.tokens[:, :20].reshape(2, 4, 5), batch.tokens[:, 20:].reshape(2, 4, 5)
    assert torch.equal(stored[..., :4], asked[..., :4])
    assert (stored[..., 1] == OPERATION).all()
    assert (stored[..., 3] == EQUALS).all()
    assert (stored[..., 4] < P).all()
    assert (asked[..., 4] == MASK).all()
    assert torch.equal(batch.targets[:, 20:].reshape(2, 4, 5)[..., 3], stored[..., 4])
    assert (batch.targets[:, 20:] != IGNORED).sum() == 8
    assert all(len({tuple(pair) for pair in row}) == 4 for row in stored[..., [0, 2]].tolist())
    assert batch.reset.nonzero()[:, 1].tolist() == [0, 10, 20, 30] * 2
    assert known(batch).memory.nonzero()[:, 1].tolist() == [0, 0]
    assert known(batch).answer[:, 20:].reshape(2, 4, 5)[..., 3].tolist() == [[1, 2, 3, 4]] * 2


def test_drawn_answers_say_nothing_of_a_pair_and_rows_of_a_pair_differ_in_them_alone() -> None:
    """Kills: a table that stays from episode to episode; partners with other questions, or with the same answers."""
    source = source_of("train.batch_size=4")
    said: dict[tuple[int, int], set[int]] = {}
    for step in range(60):
        for a, _, b, _, c in source.batch(step).tokens[:, :20].reshape(-1, 5).tolist():
            said.setdefault((a, b), set()).add(c)
    assert min(map(len, said.values())) >= 3
    told = torch.stack([source.episode(index).storage.tokens for index in range(20)]).reshape(20, 2, 2, 4, 5)
    assert torch.equal(told[:, :, 0, :, :4], told[:, :, 1, :, :4])
    assert 0.05 < (told[:, :, 0, :, 4] == told[:, :, 1, :, 4]).float().mean() < 0.25
    assert not torch.equal(told[:, 0, 0, :, :4], told[:, 1, 0, :, :4])


def test_true_sums_are_trained_on_some_pairs_and_validated_on_the_others() -> None:
    """Kills: sums that are drawn; the pairs of the other side; the same rows for both."""
    source = source_of("data.episodes.answers='true'")
    sides = [set[tuple[int, int]](), set[tuple[int, int]]()]
    for step in range(40):
        for side, batch in enumerate((source.batch(step), source.validation(step))):
            for a, _, b, _, c in batch.tokens[:, :20].reshape(-1, 5).tolist():
                assert c == (a + b) % P
                sides[side].add((a, b))
    assert not sides[0] & sides[1]
    assert len(sides[0]) + len(sides[1]) > 40


def test_a_word_is_masked_as_a_whole_and_its_bytes_are_asked_for_in_order() -> None:
    """Kills: the first token of a word alone; a mask for every token; a target at its own place."""
    source = source_of(*WITH_TEXT)
    words = 0
    for step in range(12):
        batch = source.batch(step)
        half = batch.tokens.shape[1] // 2
        for row in range(2):
            stored, masked = batch.tokens[row, :half].numpy(), batch.tokens[row, half:].numpy()
            targets, answer = batch.targets[row, half:].numpy(), known(batch).answer[row, half:].numpy()
            for number in range(1, answer.max() + 1):
                places = np.flatnonzero(answer == number)
                first = places[0] + 1
                if targets[places[0]] >= source.numbers.start:
                    continue
                words += 1
                said = bytes(targets[places].tolist()).decode()
                assert said.strip().replace("'", "").replace("-", "").isalnum()
                assert masked[first] == 266
                assert stored[first : first + len(places)].tolist() == targets[places].tolist()
                assert masked[first + 1 : first + len(places)].tolist() == targets[places][:-1].tolist()
                assert places.tolist() == [first - 1, *range(first + 1, first + len(places))]
    assert words > 20


def test_words_are_the_text_and_only_letters_are_maskable() -> None:
    """Kills: blanks that get lost; a word cut at an apostrophe; punctuation that can be masked."""
    tokenizer = ByteTokenizer()
    words = Words.of(["Don't go, 2 well-known\nmen -- now! "], tokenizer)
    parts = [bytes(words.word(n).tolist()[:99]) if words.word(n)[0] < 256 else b"|" for n in range(len(words))]
    assert b"".join(parts) == b"Don't go, 2 well-known\nmen -- now! |"
    masked = [part for part, maskable in zip(parts, words.maskable, strict=True) if maskable]
    assert masked == [b"Don't", b" go", b" 2", b" well-known", b"\nmen", b" now"]
    assert words.filling(len(words) - 1, 9).tolist() == [len(words) - 1, 0, 1]


def test_too_few_words_of_one_token_are_refused() -> None:
    """Kills: fewer words than were asked for, drawn in silence."""
    overrides = ("data.tokenizer='bpe'", "data.bpe_vocab_size=260", "model.vocab_size=360", "data.episodes.words=300")
    with pytest.raises(UserError, match=r"the training text has \d+ words of a single token"):
        open_source(load_config("omega-micro", overrides))
