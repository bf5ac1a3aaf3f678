"""A model that is asked: what it says after a prompt, and how likely it finds what could be said.

    say       the likeliest token again and again, up to the separator or to so many tokens (no number is drawn)
    follow    log p(target) at each scored place of rows that are laid out as in training (`data.packing`)

Several prompts are read side by side. Shorter ones stand behind separators, with a reset at their first token, from
which a row is as in a fresh start; rows never meet. So an answer does not depend on what else is asked. Tokens that the
tokenizer lacks are never said, and have no share in a probability. Computed as by `atlas generate`, in fp32.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from atlas_ref.data.batch import IGNORED
from atlas_ref.data.packing import Example
from atlas_ref.data.tokenizer import Tokenizer, decode
from atlas_ref.models.family import Model
from atlas_ref.models.session import Session

PART = 1024
"""Tokens, of all rows together, that are read in one call: the logits of more would fill the memory."""


class Followed(NamedTuple):
    """What a model makes of the scored places of a row, in their order."""

    log_probabilities: list[float]
    """Of the targets, in nats."""
    hits: list[bool]
    """Whether the target is the likeliest token."""


class Respondent(NamedTuple):
    """A model and how it is asked."""

    model: Model
    tokenizer: Tokenizer
    joint: str
    """Text between a prompt and its answer, as in training."""
    length: int
    """Tokens that a prompt, its answer and the end have together."""
    rows: int
    """Prompts that are read side by side; changes memory and time, not the answers."""
    outer_step: int | None = None
    """The step of a checkpoint whose schedules had not ended (`Model.forward`)."""

    def prompt(self, text: str, room: int) -> list[int]:
        """Return the last `room` tokens of a prompt with the joint behind it."""
        return self.tokenizer.encode(text + self.joint)[-room:]

    @torch.no_grad()
    def say(self, prompts: Sequence[str], most: int) -> list[str]:
        """Return what is said after each prompt, up to `most` tokens, of which a prompt leaves the room at its end."""
        tokens = [self.prompt(text, max(1, self.length - most)) for text in prompts]
        said = [""] * len(tokens)
        for batch in self._batches([len(each) for each in tokens]):
            for number, answer in zip(batch, self._said([tokens[number] for number in batch], most), strict=True):
                said[number] = decode(self.tokenizer, answer)
        return said

    @torch.no_grad()
    def follow(self, laid: Sequence[Example]) -> list[Followed]:
        """Return what the model makes of each row by itself; a row has tokens, and what follows each."""
        found = [Followed([], [])] * len(laid)
        for batch in self._batches([len(each.tokens) for each in laid]):
            for number, followed in zip(batch, self._followed([laid[number] for number in batch]), strict=True):
                found[number] = followed
        return found

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield numbers of rows, those of like length together."""
        order = sorted(range(len(lengths)), key=lambda number: lengths[number])
        for start in range(0, len(order), self.rows):
            yield order[start : start + self.rows]

    def _said(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """Return the tokens said after each of some prompts, without the separator."""
        longest, end = max(map(len, prompts)), self.tokenizer.separator
        tokens = np.full((len(prompts), longest), end, dtype=np.int64)
        reset = np.zeros(tokens.shape, dtype=np.bool_)
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :] = prompt
            reset[row, longest - len(prompt)] = True
        session = Session(self.model, len(prompts), self.outer_step)
        for logits in self._logits(session, tokens, reset):
            last = logits[:, -1]
        said: list[list[int]] = [[] for _ in prompts]
        going = set(range(len(prompts)))
        for count in range(most):
            chosen = last.argmax(-1)
            for row in sorted(going):
                token = int(chosen[row])
                if token == end:
                    going.discard(row)
                else:
                    said[row].append(token)
            if not going or count + 1 == most:
                break
            last = session(chosen[:, None])[:, -1, : self.tokenizer.vocab_size]
        return said

    def _followed(self, laid: Sequence[Example]) -> Iterator[Followed]:
        """Yield what is made of some rows, filled up behind their end."""
        shape = len(laid), max(len(each.tokens) for each in laid)
        tokens = np.full(shape, self.tokenizer.separator, dtype=np.int64)
        targets = np.full(shape, IGNORED, dtype=np.int64)
        for row, each in enumerate(laid):
            tokens[row, : len(each.tokens)], targets[row, : len(each.targets)] = each.tokens, each.targets
        found, hits, start = np.zeros(shape), np.zeros(shape, dtype=np.bool_), 0
        for logits in self._logits(Session(self.model, len(laid), self.outer_step), tokens, None):
            there = slice(start, start + logits.shape[1])
            start = there.stop
            wanted = torch.from_numpy(np.maximum(targets[:, there], 0)).to(logits.device)
            sure = logits.double().log_softmax(-1).gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
            found[:, there], hits[:, there] = sure.cpu().numpy(), (logits.argmax(-1) == wanted).cpu().numpy()
        for row, scored in enumerate(targets != IGNORED):
            yield Followed(found[row, scored].tolist(), hits[row, scored].tolist())

    def _logits(
        self, session: Session, tokens: NDArray[np.int64], reset: NDArray[np.bool_] | None
    ) -> Iterator[Float[Tensor, "batch time vocab"]]:
        """Yield the logits of the known tokens, a part of the rows after the other."""
        device, width = next(self.model.parameters()).device, max(1, PART // len(tokens))
        for start in range(0, tokens.shape[1], width):
            there = slice(start, start + width)
            marks = None if reset is None else torch.from_numpy(reset[:, there]).to(device)
            logits = session(torch.from_numpy(tokens[:, there]).to(device), marks)
            yield logits[..., : self.tokenizer.vocab_size]
