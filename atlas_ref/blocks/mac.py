"""The MAC block: memory as context, read token by token (Titans 2501.00663 section 4.1; decision `segments`).

    n = norm(x)
    h = rows read from the memory at the start of the segment                            (`blocks.rows`)
    a = attention of n over persistent tokens, h and n of the segment so far            (`functional.segment_attention`)
    m = norm(W_m a)                 what the memory writes and reads, token by token
    out = x + W_o y,        y the join of norm(a) and norm(memory(m)) by a gate (`functional.mag_gate`)

With `write_from = "input"` the memory has n in place of m. As printed (Eq. 21-25) the block leaks twice inside a
segment: rows that later tokens asked for stand before all of them, and the join reads a memory that has written the
whole segment. Here row i is seen from token i on, and token t reads the memory after t.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.block import BlockOutput
from atlas_ref.blocks.joined import JoinedBlock
from atlas_ref.blocks.memory_branch import MemoryLayerOutput
from atlas_ref.blocks.phase import Phase
from atlas_ref.blocks.rows import RowReader, RowState
from atlas_ref.blocks.segment_attention import Caches, MacState, SegmentAttention
from atlas_ref.blocks.timeline import Piece, Timeline
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.dropout import dropped
from atlas_ref.memory.plan import where_rows
from atlas_ref.memory.rules import Gates
from atlas_ref.memory.state import Held


class MacBlock(JoinedBlock):
    """Attention over tokens and rows of the memory, and a memory of what it returns (module docstring)."""

    attention: SegmentAttention

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, SegmentAttention(config))
        self.rows = RowReader(config)
        self.from_attention = config.mac.write_from == "attention"
        if self.from_attention:
            self.memory_input = nn.Linear(config.d_model, config.d_model, bias=False)
            self.memory_input_norm = nn.RMSNorm(config.d_model, config.norm_eps)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float, residual_std: float) -> None:
        """Draw the weights; the output projection is smaller, as it adds to the residual stream at every layer."""
        self.attention.initialise(generator, std)
        self.memory.initialise(generator, std)
        self.rows.initialise(self.memory, generator, std)
        if self.from_attention:
            self.memory_input.weight.normal_(std=std, generator=generator)
        self.initialise_join(generator, std, residual_std)

    def initial_state(self, batch: int) -> MacState:
        """Return the state of `batch` rows before their first token."""
        past = self.attention.segment - 1
        cache = self.attention.empty(batch, past)
        row_cache = cache if self.rows.kind == "causal" else cache[:, :0]
        tail, queries = self.rows.initial_state(batch)
        started = self.memory.started(batch)
        caches = (cache, cache, row_cache, row_cache)
        return MacState(self.memory.initial_state(batch), started, *caches, tail, queries)

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        state: MacState,
        timeline: Timeline,
        phase: Phase | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> BlockOutput:
        """Return x plus the gated join of attention and memory, segment after segment (`Block.forward`)."""
        phase = phase or self.final
        floor = timeline.gate_floor(phase.gate_floor)
        hidden: Tensor = self.norm(x)
        attended, remembered, after = [], list[MemoryLayerOutput](), state
        for piece in timeline.pieces:
            seen, found, after = self._piece(hidden[:, piece.start : piece.stop], after, piece, phase.writes, measured)
            attended.append(seen)
            remembered.append(found)
        whole = join_outputs(remembered)
        gated = self.join(hidden, torch.cat(attended, 1), whole.reads, floor, phase.drops.memory, penalised)
        y = dropped(self.output(gated.joined), phase.drops.residual)
        told = self.tell(state.memory, whole, gated.raw, floor, penalised, measured)
        return BlockOutput(x + y, after, *told)

    def _piece(
        self,
        hidden: Float[Tensor, "batch time model"],
        state: MacState,
        piece: Piece,
        writes: bool,
        measured: bool,
    ) -> tuple[Tensor, MemoryLayerOutput, MacState]:
        """Return what attention and memory make of tokens of one segment, and the state behind them."""
        seen = piece.timeline.seen(state.memory.context)
        with self.outer_graph():
            segment = self._held_by_segment(state, piece)
            asked, carried = self.rows.ask(hidden, RowState(state.row_tail, state.row_queries), piece, seen)
            reads = self.memory.recall(segment, asked.queries)
        found: tuple[Tensor, Caches] = self.attention(hidden, self.rows.rows(reads, hidden), asked, state, piece)
        attended, caches = found
        source = hidden
        if self.from_attention:
            source = self.memory_input_norm(self.memory_input(attended).to(hidden.dtype))
        remembered = self.remember(source, state.memory, piece.timeline, writes, measured)
        return attended, remembered, MacState(remembered.state, segment, *caches, carried.tail, carried.queries)

    def _held_by_segment(self, state: MacState, piece: Piece) -> tuple[Held, ...]:
        """Return W_[s]: M_0 where a memory begins, M where a segment does, what it was anywhere else."""
        now, started = self.memory.held(state.memory), self.memory.started(len(piece.opens))

        def moved(first: Tensor, last: Tensor, before: Tensor) -> Tensor:
            return where_rows(piece.begins, first, where_rows(piece.opens, last, before))

        held = zip(started, now, state.segment, strict=True)
        return tuple(
            Held(tuple(moved(*matrices) for matrices in zip(*(one.weights for one in each), strict=True)))
            for each in held
        )


def join_outputs(parts: Sequence[MemoryLayerOutput]) -> MemoryLayerOutput:
    """Return what one call would have returned, from those of its parts in time."""
    if len(parts) == 1:
        return parts[0]
    tokens = [part.reads.shape[1] for part in parts]
    losses = [part.omega_loss * count for part, count in zip(parts, tokens, strict=True) if part.omega_loss is not None]
    return MemoryLayerOutput(
        reads=torch.cat([part.reads for part in parts], 1),
        state=parts[-1].state,
        gates=tuple(_joined_gates(of_one) for of_one in zip(*(part.gates for part in parts), strict=True)),
        bounded=_joined([part.bounded for part in parts]),
        omega_loss=torch.stack(losses).sum() / sum(tokens) if losses else None,
        wrote=any(part.wrote for part in parts),
        each=tuple(torch.cat(of_one, 1) for of_one in zip(*(part.each for part in parts), strict=True)),
    )


def _joined_gates(parts: Sequence[Gates]) -> Gates:
    retention, momentum, step, window = (torch.cat(gate, 1) for gate in zip(*(part[:4] for part in parts), strict=True))
    return Gates(retention, momentum, step, window, _joined([part.threshold for part in parts]))


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Return parts behind one another in time; None where there are none."""
    found = [part for part in parts if part is not None]
    return torch.cat(found, 1) if found else None
