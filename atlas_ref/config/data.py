"""What a run is trained on."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from atlas_ref.config.curriculum import CurriculumConfig
from atlas_ref.config.episodes import EpisodesConfig
from atlas_ref.config.section import Section
from atlas_ref.config.span import Span
from atlas_ref.config.vocabulary import BYTE_VOCABULARY, MOST_TOKENS, RECALL_FILLERS

SUDOKU_CELLS = 36
"""Cells of a grid of six by six."""
GENERATED = {
    "recall": "the keys, values and fillers of data.recall",
    "relay": "the symbols of data.relay and a token without one",
    "sudoku": "a blank and six digits",
    "arithmetic": "the numbers below data.arithmetic.modulus, and a token where data.arithmetic.equals is true",
    "episodes": "the tokens of its text, the numbers, two signs and a mask",
}
"""The sources that are no text, and what their vocabularies are, for a message."""


class RecallConfig(Section):
    """Synthetic multi-query associative recall: pairs, then filler, then queries."""

    pairs: int = Field(ge=1, le=100_000)
    """key-value pairs in a row"""
    keys: int = Field(ge=1, le=500_000)
    """different keys"""
    values: int = Field(ge=2, le=400_000)
    """different values; chance is one in so many"""
    gap: int = Field(ge=0, le=10_000_000)
    """least number of filler tokens before the queries; filler grows to fill the row"""
    queries: int = Field(ge=1, le=100_000)
    """keys asked for in a row, each at most once"""

    @property
    def vocab_size(self) -> int:
        """Keys, then values, then fillers."""
        return self.keys + self.values + RECALL_FILLERS

    def filler(self, sequence_length: int) -> int:
        """Filler tokens between the last pair and the first query in a row of `sequence_length` tokens."""
        return sequence_length - 2 * (self.pairs + self.queries)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a row that cannot be drawn."""
        if self.pairs > self.keys:
            yield f"data.recall.pairs is {self.pairs}; it must be at most data.recall.keys, which is {self.keys}"
        if self.queries > self.pairs:
            yield f"data.recall.queries is {self.queries}; it must be at most data.recall.pairs, which is {self.pairs}"


class AnswersConfig(Section):
    """Which fields of a row hold a prompt and its answer."""

    prompt_key: str = Field(min_length=1, max_length=256)
    """key or column of the prompt; + joins several, | separates what is tried in turn"""
    answer_key: str = Field(min_length=1, max_length=256)
    """key or column of the answer, which alone is learned"""
    joint: str = Field(max_length=64)
    """text between the two, the end of the prompt"""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a key that is none."""
        yield from _no_key("data.answers.prompt_key", self.prompt_key)
        yield from _no_key("data.answers.answer_key", self.answer_key)


class RelayConfig(Section):
    """Generated rows in which every token has to learn of the last symbol before it, however far back that is."""

    symbols: int = Field(ge=2, le=10_000)
    """different symbols; chance is one in so many"""
    every: int = Field(ge=2, le=1_000_000)
    """of the later tokens one in so many carries a symbol; the first one always does"""
    probabilities: Literal["softmax", "stablemax"]
    """what makes probabilities of logits, in the loss that is trained on and judged by"""

    @property
    def vocab_size(self) -> int:
        """Symbols, then the token that carries none."""
        return self.symbols + 1


class SudokuConfig(Section):
    """Generated sudoku of six by six, each with one solution."""

    blanks: int = Field(ge=1, le=SUDOKU_CELLS)
    """most blank cells of a puzzle; about 26 can be blank where there is one solution"""
    probabilities: Literal["softmax", "stablemax"]
    """what makes probabilities of logits, in the loss that is trained on and judged by"""

    @property
    def vocab_size(self) -> int:
        """A blank, then the digits."""
        return 7


class ArithmeticConfig(Section):
    """All pairs of numbers modulo p, of which a share is trained on and the others are only validated on."""

    modulus: int = Field(ge=2, le=1000)
    """p: the numbers are 0 to p - 1, and chance is one in so many"""
    operation: Literal["add", "multiply"]
    """what is asked of a pair: a + b, or a b, modulo p"""
    share: float = Field(gt=0.0, lt=1.0)
    """of the p^2 pairs, that is trained on"""
    split_seed: int = Field(ge=0, lt=2**63)
    """of the draw of that share, which stays the same for every train.seed"""
    equals: bool
    """whether a token of its own, the equals sign, stands behind the two numbers, and the answer behind that"""
    probabilities: Literal["softmax", "stablemax"]
    """what makes probabilities of logits, in the loss that is trained on and judged by"""

    @property
    def vocab_size(self) -> int:
        """The numbers, then the equals sign where there is one."""
        return self.modulus + self.equals

    @property
    def length(self) -> int:
        """Tokens of a question."""
        return 2 + self.equals

    @property
    def trained(self) -> int:
        """Pairs that are trained on: one at least, and one is left."""
        pairs = self.modulus**2
        return min(max(1, round(self.share * pairs)), pairs - 1)


class DataConfig(Section):
    """What the model is trained on."""

    source: Literal["shakespeare", "recall", "path", "answers", "sets", "relay", "sudoku", "arithmetic", "episodes"]
    """the shipped text, a task (recall, relay, sudoku, arithmetic, episodes), or at path: text, answers, sets"""
    path: str = Field(max_length=4096)
    """file or folder for source = "path", "answers" or "sets", or of the text of episodes; else empty"""
    text_key: str = Field(min_length=1, max_length=256)
    """key or column of the text in JSONL and parquet; + joins several, | separates what is tried in turn"""
    tokenizer: Literal["bytes", "bpe"]
    """of text: bytes, or byte-pair encoding trained on the training part"""
    bpe_vocab_size: int = Field(ge=BYTE_VOCABULARY, le=MOST_TOKENS)
    """most tokens of bpe, its document separator included; a short text gives fewer"""
    sequence_length: int = Field(ge=1, le=10_000_000)
    """tokens in a row of a batch"""
    context_batches: int = Field(ge=1, le=10**9)
    """batches after which every row of text begins afresh, if its document has not ended before"""
    reset_memory_per_sequence: bool
    """whether every document begins with the initial memory; otherwise only every context does"""
    validation_fraction: float = Field(gt=0.0, lt=1.0)
    """share of the text, or of the answers, at its end, that is only validated on"""
    recall: RecallConfig
    answers: AnswersConfig
    relay: RelayConfig
    sudoku: SudokuConfig
    arithmetic: ArithmeticConfig
    curriculum: CurriculumConfig
    episodes: EpisodesConfig

    @property
    def vocab_size(self) -> int:
        """The vocabulary that source and tokenizer make, for bpe the most that it can be."""
        if self.source in GENERATED:
            sizes = (
                self.recall.vocab_size,
                self.relay.vocab_size,
                self.sudoku.vocab_size,
                self.arithmetic.vocab_size,
                self.episodes.vocab_size(self.text_vocab_size, self.arithmetic.modulus),
            )
            return dict(zip(GENERATED, sizes, strict=True))[self.source]
        return self.text_vocab_size

    @property
    def text_vocab_size(self) -> int:
        """The vocabulary that the tokenizer of a text makes, for bpe the most that it can be."""
        return self.bpe_vocab_size if self.tokenizer == "bpe" else BYTE_VOCABULARY

    @property
    def is_text(self) -> bool:
        """Whether a tokenizer says what the tokens are, so that there may be samples of text."""
        return self.source not in GENERATED or self.reads_episodes

    @property
    def span(self) -> Span:
        """How far back lies what is asked for (`config.span`): of text, anywhere in the context."""
        if self.source == "recall":
            return Span(self.recall.filler(self.sequence_length) + 1, self.sequence_length - 3)
        if self.source == "episodes":
            return Span(self.episodes.tokens // 2 - 1, self.episodes.tokens // 2 - 1)
        return Span(1, self.sequence_length * self.context_batches)

    @property
    def loss_scale(self) -> float:
        """What the loss of a guess is to be multiplied by: the weights that the task gives its parts."""
        weights = self.episodes.storage_weight + self.episodes.retrieval_weight
        return weights if self.source == "episodes" else 1.0

    @property
    def reads_episodes(self) -> bool:
        """Whether there are episodes with text in them."""
        return self.source == "episodes" and self.episodes.text_share > 0.0

    @property
    def vocabulary(self) -> str:
        """What that vocabulary is, for a message."""
        if self.source in GENERATED:
            return GENERATED[self.source]
        return 'data.bpe_vocab_size of data.tokenizer = "bpe"' if self.tokenizer == "bpe" else "bytes and a separator"

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a path that is of no use or missing, and a recall row that does not fit."""
        reads_a_path = self.source in ("path", "answers", "sets")
        if reads_a_path and not self.path:
            yield f'data.path is empty; it must name a file or folder for data.source = "{self.source}"'
        if not reads_a_path and not self.reads_episodes and self.path:
            yield (
                f'data.path is "{self.path}"; it must be empty unless data.source = "path", "answers", "sets" or '
                '"episodes" with text'
            )
        if "\0" in self.path:
            yield f'data.path is "{self.path}"; it must be the name of a file or folder, which holds no zero character'
        if self.curriculum.epoch_steps and self.source != "sets":
            yield (
                f"data.curriculum.epoch_steps is {self.curriculum.epoch_steps}; it must be 0 for data.source = "
                f'"{self.source}", which has no sets'
            )
        yield from _no_key("data.text_key", self.text_key)
        filler = self.recall.filler(self.sequence_length)
        if self.source == "sudoku" and self.sequence_length != 2 * SUDOKU_CELLS:
            yield (
                f"data.sequence_length is {self.sequence_length}; it must be {2 * SUDOKU_CELLS} for data.source = "
                '"sudoku", a puzzle and its solution'
            )
        if self.source == "arithmetic" and self.sequence_length != (length := self.arithmetic.length):
            yield (
                f"data.sequence_length is {self.sequence_length}; it must be {length} for data.source = "
                f'"arithmetic", the two numbers of a pair{" and the equals sign" if self.arithmetic.equals else ""}'
            )
        for task in ("arithmetic", "relay", "sudoku"):
            if self.source != task and (kind := getattr(self, task).probabilities) != "softmax":
                yield (
                    f'data.{task}.probabilities is "{kind}"; it must be "softmax" for data.source = "{self.source}", '
                    "which does not look there"
                )
        yield from self._episodes()
        if self.source == "recall" and filler < self.recall.gap:
            least = self.sequence_length - filler + self.recall.gap
            yield (
                f"data.sequence_length is {self.sequence_length}; it must be at least {least} "
                "to hold data.recall.pairs, data.recall.gap and data.recall.queries"
            )

    def _episodes(self) -> Iterator[str]:
        """Yield a sentence for rows that do not fill episodes, and for words that no single token is."""
        asked = self.episodes
        if self.source != "episodes":
            return
        if asked.tokens % self.sequence_length:
            yield (
                f"data.sequence_length is {self.sequence_length}; it must divide the {asked.tokens} tokens of an "
                "episode: both phases of data.episodes.pieces times data.episodes.length"
            )
        elif self.sequence_length % asked.length:
            yield (
                f"data.sequence_length is {self.sequence_length}; it must be whole pieces of data.episodes.length = "
                f"{asked.length} tokens"
            )
        known = self.arithmetic.modulus**2
        least = known if asked.answers == "random" else min(self.arithmetic.trained, known - self.arithmetic.trained)
        if asked.pieces * asked.sums > least:
            yield (
                f"data.episodes.pieces is {asked.pieces}; with {asked.sums} sums in a piece it must be at most "
                f"{least // asked.sums}, so that no pair of data.arithmetic is asked for twice"
            )
        if self.reads_episodes and asked.answers == "random" and self.tokenizer != "bpe":
            yield (
                f'data.tokenizer is "{self.tokenizer}"; it must be "bpe" for data.episodes.answers = "random", whose '
                "words are single tokens"
            )


def _no_key(field: str, key: str) -> Iterator[str]:
    """Yield a sentence for a key with an empty name in it."""
    if not all(name for alternative in key.split("|") for name in alternative.split("+")):
        yield f'{field} is "{key}"; it must be a name, or names with + or | between two of them'
