"""Episodes: pieces of text and of arithmetic are stored, then asked for again with their answers masked.

    text        "To be, or not to be"      some words of a piece are its answers
    arithmetic  a + b = c, again and again, five tokens a sum; every c is an answer

A row is one episode, `pieces` of each phase (`episode_rows` lays them out), each piece text with the chance
`text_share`, else arithmetic. A batch has T = `sequence_length` tokens of it: all of it, so that what is retrieved
teaches what to store, or some of its pieces; then the memory goes from step to step as in any run. Row b of step s is

    tokens [(s mod P) T, (s mod P + 1) T) of episode s // P of row b,    P = tokens of an episode / T

drawn from the seed, the episode and the row alone. With `answers` = "true" words are those of the text and sums those
modulo p, of the pairs that `data.arithmetic` trains on; validation has the rest of the text and the other pairs. With
"random" each answer is drawn anew for each episode, from `words` words or p numbers, independently of everything else:
whoever has not read the storage phase is right once in so many times.

Tokens: those of the text, if any is read, then the numbers, the operation, the equals sign and the mask.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from atlas_ref.config import RunConfig
from atlas_ref.config.data import DataConfig
from atlas_ref.config.episodes import SUM_TOKENS
from atlas_ref.data.arithmetic import SIGNS, split
from atlas_ref.data.batch import Batch, Episode, Phases, sample_digest
from atlas_ref.data.corpus import Corpus
from atlas_ref.data.encoding import tokenizer_for
from atlas_ref.data.episode_rows import lay_out
from atlas_ref.data.facts import Fact, what_is_left_out, what_is_read
from atlas_ref.data.identity import identify
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.data.words import Words
from atlas_ref.errors import UserError
from atlas_ref.functional.episode_loss import target_weights
from atlas_ref.wording import counted

TRAINING, VALIDATION = 0, 1
QUESTIONS, ANSWERS = 4, 6
"""Streams of numbers, one for training and one for validation each; 0 to 2 are of other sources and of halting."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Material:
    """What the episodes of one side are made of: its words, if any, and its pairs with their sums."""

    words: Words | None
    pairs: Numbers
    sums: Numbers


class Episodes:
    """Episodes drawn afresh for each step (EpisodicSource); those to validate on are the same for every seed."""

    def __init__(
        self, config: RunConfig, sides: tuple[Material, Material], tokenizer: Tokenizer | None, corpus: Corpus | None
    ) -> None:
        data, train = config.data, config.train
        self.vocab_size = data.vocab_size
        self.tokenizer = tokenizer
        self.training_tokens: int | None = None
        self.validation_batches = train.eval_batches
        self._data, self._task, self._sides = data, data.episodes, sides
        self._rows, self._seed = train.batch_size, train.seed
        first = data.text_vocab_size if data.reads_episodes else 0
        self.numbers = range(first, first + data.arithmetic.modulus)
        self._operation, self._equals, self._mask = (self.numbers.stop + sign for sign in range(3))
        self._chosen = _random_words(sides[TRAINING].words, data)
        self.facts = _facts(data, corpus)
        modulus, times = data.arithmetic.modulus, int(data.arithmetic.operation == "multiply")
        known = {"modulus": modulus, "multiply": times, "random": int(self._random), "sums": self._task.sums}
        self.identity = identify(
            () if corpus is None else corpus.files,
            text_key=data.text_key if corpus else "",
            task=known,
            tokenizer=tokenizer.to_json() if tokenizer else None,
            sample=sample_digest((self.batch(0), self.validation(0))),
        )

    @property
    def _random(self) -> bool:
        return self._task.answers == "random"

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        return self._part(self._seed, step, TRAINING)

    def validation(self, index: int) -> Batch:
        """The validation batch of an index."""
        return self._part(0, index, VALIDATION)

    def episode(self, index: int) -> Phases:
        """A validation episode of each row, phase by phase (EpisodicSource)."""
        half = self._task.tokens // 2
        return Phases(
            self._cut(0, index, VALIDATION, slice(0, half)), self._cut(0, index, VALIDATION, slice(half, None))
        )

    def _part(self, seed: int, step: int, side: int) -> Batch:
        """The tokens of a step, of the episode that it is in."""
        length = self._data.sequence_length
        number, part = divmod(step, self._task.tokens // length)
        return self._cut(seed, number, side, slice(part * length, (part + 1) * length))

    def _cut(self, seed: int, number: int, side: int, part: slice) -> Batch:
        """Some tokens of an episode of every row, with the weights that they have together."""
        rows = [self._row(seed, number, row, side) for row in range(self._rows)]
        pieces, answers, lengths = (torch.from_numpy(np.stack(parts)) for parts in zip(*rows, strict=True))
        laid = lay_out(pieces, answers, lengths, self._mask)
        retrieved = torch.arange(self._task.tokens) >= self._task.tokens // 2
        tokens, targets, context, memory, answer = (x[:, part] for x in laid)
        later = retrieved[part].expand(tokens.shape)
        floor = torch.where(later, self._task.retrieval_floor, self._task.storage_floor).float()
        weight = target_weights(targets, later, self._task.storage_weight, self._task.retrieval_weight).float()
        memory = memory & self._data.reset_memory_per_sequence
        return Batch(tokens, targets, context, Episode(memory, answer, floor, weight))

    def _row(self, seed: int, number: int, row: int, side: int) -> tuple[Numbers, Numbers, Numbers]:
        """The pieces of an episode of one row, the number of the answer that each token is of, and their lengths.

        Rows that are validated on in pairs, so that one can be asked what the other was told, share their questions.
        """
        asked = row - row % 2 if side == VALIDATION and self._random else row
        questions = _generator(seed, asked, number, QUESTIONS + side)
        told = _generator(seed, row, number, ANSWERS + side)
        count, length, material = self._task.pieces, self._task.length, self._sides[side]
        tokens, answers = np.zeros((count, length), np.int64), np.zeros((count, length), np.int64)
        lengths, numbered = np.zeros(count, np.int64), 0
        texts = questions.random(count) < self._task.text_share
        pairs = iter(questions.choice(len(material.pairs), (count, self._task.sums), replace=False))
        for piece, is_text in enumerate(texts):
            drawn = next(pairs)
            if is_text and material.words is not None:
                said, which, fill = *self._text(material.words, questions, told), self.tokenizer_separator
            else:
                said, which, fill = *self._arithmetic(material, drawn, told), self._equals
            lengths[piece] = len(said)
            tokens[piece] = np.pad(said, (0, length - len(said)), constant_values=fill)
            answers[piece, : len(which)] = np.where(which > 0, which + numbered, 0)
            numbered += int(which.max(initial=0))
        return tokens, answers, lengths

    @property
    def tokenizer_separator(self) -> int:
        """What fills up a piece of text."""
        return self._equals if self.tokenizer is None else self.tokenizer.separator

    def _arithmetic(self, material: Material, pairs: Numbers, told: np.random.Generator) -> tuple[Numbers, Numbers]:
        """Sums of some pairs, and which of their tokens are answers."""
        drawn = told.integers(len(self.numbers), size=len(pairs))
        sums = drawn if self._random else material.sums[pairs]
        signs = np.array([self._operation, self._equals])
        a, b = self.numbers.start + material.pairs[pairs].T
        tokens = np.stack([a, *np.broadcast_arrays(signs[:1], b, signs[1:]), self.numbers.start + sums], axis=1)
        which = np.zeros(tokens.shape, np.int64)
        which[:, SUM_TOKENS - 1] = 1 + np.arange(len(pairs))
        return tokens.reshape(-1), which.reshape(-1)

    def _text(self, words: Words, questions: np.random.Generator, told: np.random.Generator) -> tuple[Numbers, Numbers]:
        """A piece of text, of which some words, none beside another, are answers, and which of its tokens are."""
        shown = words.filling(int(questions.integers(len(words))), self._task.length)
        order = questions.permutation(np.arange(1, len(shown)))
        masked: set[int] = set()
        for place in order[words.maskable[shown[order]]].tolist():
            if len(masked) < self._task.masks and not {place - 1, place + 1} & masked:
                masked.add(place)
        drawn = told.choice(self._chosen, self._task.masks) if self._random else None
        tokens, which = list[int](), list[int]()
        asked = sorted(masked)
        for place, number in enumerate(shown.tolist()):
            answer = asked.index(place) + 1 if place in masked else 0
            word = [int(drawn[answer - 1])] if answer and drawn is not None else words.word(number).tolist()
            tokens += word
            which += [answer] * len(word)
        return np.array(tokens, np.int64), np.array(which, np.int64)


def open_episodes(
    config: RunConfig, corpus: Corpus | None, texts: tuple[list[str], list[str]], given: Tokenizer | None
) -> Episodes:
    """The episodes of a configuration; `corpus` is the text that is read, if any, and `texts` are its two parts.

    Raises UserError for a text that is too short, or has too few words of a single token to draw answers from.
    """
    tokenizer = None if corpus is None else tokenizer_for(corpus.name, texts[TRAINING], config, given)
    pairs = split(config.data.arithmetic, 1)
    sides = []
    for side, text in enumerate(texts):
        words = None if corpus is None or tokenizer is None else Words.of(text, tokenizer)
        if corpus is not None and words is not None and len(words) < config.data.episodes.length:
            part = ("training", "validation")[side]
            raise UserError(
                f"{corpus.name}: is too short: its {part} part has {counted(len(words), 'word')}, and "
                f"{config.data.episodes.length} are needed; lower data.episodes.length, or give more text."
            )
        known = pairs if config.data.episodes.answers == "random" else (pairs[side],)
        sides.append(
            Material(
                words, np.concatenate([part.pairs for part in known]), np.concatenate([part.answers for part in known])
            )
        )
    return Episodes(config, (sides[TRAINING], sides[VALIDATION]), tokenizer, corpus)


def _random_words(words: Words | None, data: DataConfig) -> Numbers:
    """The words that random answers are drawn from."""
    if words is None or data.episodes.answers != "random":
        return np.zeros(0, np.int64)
    found = words.single_tokens(data.episodes.words)
    if len(found) < data.episodes.words:
        raise UserError(
            f"the training text has {counted(len(found), 'word')} of a single token, and data.episodes.words is "
            f"{data.episodes.words}; lower it, or raise data.bpe_vocab_size."
        )
    return found


def _facts(data: DataConfig, corpus: Corpus | None) -> list[Fact]:
    """What a person should know before a run."""
    task, p = data.episodes, data.arithmetic.modulus
    drawn = task.answers == "random"
    sums = f"one of {p} numbers" if drawn else f"a {SIGNS[data.arithmetic.operation]} b mod {p}"
    words = f"one of {task.words} words" if drawn else "the word of the text"
    said = [f"{1.0 - task.text_share:.0%} arithmetic, where an answer is {sums}"]
    said += [f"{task.text_share:.0%} text, where it is {words}"] if data.reads_episodes else []
    sizes = f"{counted(task.pieces, 'piece')} of {task.length} tokens stored, then asked for"
    facts = [Fact("episodes", f"{sizes}: {'; '.join(said)}")]
    if corpus is not None:
        facts.append(Fact("data", what_is_read(corpus.name, corpus.files, counted(len(corpus.documents), "document"))))
        facts += [Fact("not read", text) for text in what_is_left_out(corpus.left_out)]
    return facts


def _generator(seed: int, row: int, number: int, stream: int) -> np.random.Generator:
    """A counter-based generator: each (seed, row, number, stream) has numbers of its own."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, row, number, stream]))
