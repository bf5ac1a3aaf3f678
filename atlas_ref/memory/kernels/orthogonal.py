"""The run under Newton-Schulz: segment after segment, a program for each token that writes and for each head.

    E = (K A^T - V) r,      S_i = (E o U_i)^T K + U[i, S] S,      O_i = NS(S_i)          (`orthogonal_write`)
    M <- sum_i w_i O_i + w_M M,      y_t = sum_i W[t, i] O_i q_t + W[t, M] M q_t         (`orthogonal_read`)

with U the coordinates of the momentum of the tokens that write and W those of the memory in their O_i. A matrix stays
on the chip for all steps of its iteration. The reference is `orthogonalised.run_orthogonalised`. The backward pass
starts from what each segment entered with; a few segments at a time it forms the S_i of all their tokens, goes back
from segment to segment, and then finds what no other segment waits for (`orthogonal_gradients`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.held import Held
from atlas_ref.memory.kernels.launching import dense, precision
from atlas_ref.memory.kernels.orthogonal_given import GROUP, VALUE_BLOCK, Entering, Iteration, Momenta, Sizes
from atlas_ref.memory.kernels.orthogonal_gradients import gradients
from atlas_ref.memory.kernels.orthogonal_read import carry_adjoint, read
from atlas_ref.memory.kernels.orthogonal_write import write, write_adjoint


def orthogonal_run(
    iteration: Iteration,
    resets: Int[Tensor, "segments batch"],
    opens: Int[Tensor, "segments batch"],
    entering: Entering,
    initial: Float[Tensor, "heads values features"],
    held: Held,
) -> tuple[
    Float[Tensor, "segments batch heads tokens values"], Float[Tensor, "segments batch heads values features"], Held
]:
    """Return the reads and the anchors of all segments, and what the last one leaves (ATLAS 2505.23735 Eq. 32-33).

    `resets` and `opens` say which rows restart and which take a new anchor in front of each segment.
    """
    apply: Callable[..., tuple[Tensor, ...]] = _Run.apply
    reads, anchors, *after = apply(iteration, resets, opens, *entering, initial, *held)
    return reads, anchors, Held(*after)


def _form(
    found: Momenta,
    iteration: Iteration,
    given: Entering,
    entered: Held,
    sizes: Sizes,
    first: int,
    steps: int,
    segments: int,
) -> None:
    """Fill `found` with those of `segments` segments from number `first`, after `steps` steps."""
    write[(segments * sizes.rows, -(-sizes.writers // GROUP))](
        *given[:3],
        *entered[1:],
        *given[4:6],
        iteration.table,
        *found,
        first * sizes.rows,
        iteration.offset,
        steps,
        sizes.writers,
        *sizes[5:],
        sizes.tiles[1],
        *sizes.cut,
        sizes.tiles[3],
        GROUP,
        iteration.half,
        precision(),
        **sizes.launch,
    )


def segment(
    n: int,
    iteration: Iteration,
    given: Entering,
    sizes: Sizes,
    initial: Float[Tensor, "heads values features"],
    marks: tuple[Int[Tensor, "borders batch"], Int[Tensor, "borders batch"]],
    found: Momenta,
    reads: Float[Tensor, "segments batch heads tokens values"],
    entered: Held,
) -> None:
    """Write the reads of segment n, and what enters the next one: `marks` say what restarts and opens before each."""
    _form(found, iteration, given, entered, sizes, n, len(iteration.table), 1)
    read[(sizes.rows, sizes.blocks)](
        *given[:4],
        *given[6:],
        initial,
        *marks,
        *found[:2],
        reads,
        *entered,
        n * sizes.rows,
        *sizes[1:],
        *sizes.tiles[:3],
        VALUE_BLOCK,
        iteration.half,
        precision(),
        **sizes.launch_rows,
    )


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, iteration: Iteration, resets: Tensor, opens: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        *each, initial, weights, momentum, anchor = dense(*tensors)
        given = Entering._make(each)
        sizes = Sizes.of(given)
        # One mark more: nothing restarts behind the last segment.
        resets, opens = (torch.cat([mark, torch.zeros_like(mark[:1])]) for mark in (resets, opens))
        entered = Held(*(x.new_empty(sizes.segments + 1, *x.shape) for x in (weights, momentum, anchor)))
        restarts, moves = (mark[0].view(-1, 1, 1, 1) != 0 for mark in (resets, opens))
        entered.weights[0] = torch.where(restarts, initial, weights)
        entered.momentum[0] = torch.where(restarts, 0.0, momentum)
        entered.anchor[0] = torch.where(moves, entered.weights[0], anchor)
        found = Momenta.room(given, sizes, 1, iteration.kind)
        reads = given.queries.new_empty(*given.queries.shape[:-1], sizes.values)
        for n in range(sizes.segments):
            segment(n, iteration, given, sizes, initial, (resets, opens), found, reads, entered)
        ctx.save_for_backward(*given, resets, opens, *entered)
        ctx.iteration, ctx.sizes = iteration, sizes
        return (reads, entered.anchor[:-1], *(x[-1].clone() for x in entered))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, resets, opens, weights, momentum, anchor = ctx.saved_tensors
        given, entered, sizes = Entering._make(tensors), Held(weights, momentum, anchor), ctx.sizes
        d_reads, d_anchors, *d_after = dense(*grads)
        cotangents = Held(*(torch.empty_like(x) for x in entered))
        for whole, last in zip(cotangents, d_after, strict=True):
            whole[-1] = last
        d_initial = torch.zeros_like(d_after[0])
        # What is summed over features: a part of each block.
        found = Entering._make(
            x if n in (0, 1, 3) else x.new_empty(sizes.parts, *x.shape)
            for n, x in enumerate(map(torch.empty_like, given))
        )
        back = _Back(ctx.iteration, sizes, given, entered, (resets, opens), cotangents, found, d_initial)
        # An iteration starts in float32: what is small in it grows. Cotangents are summed as they are.
        kinds = (torch.float32, ctx.iteration.kind, torch.float32)
        rooms = [Momenta.room(given, sizes, sizes.stretch, kind) for kind in kinds]
        for end in range(sizes.segments, 0, -sizes.stretch):
            back.stretch(max(0, end - sizes.stretch), end, rooms, d_reads, d_anchors)
        summed = (x if n in (0, 1, 3) else x.squeeze(0) if sizes.parts == 1 else x.sum(0) for n, x in enumerate(found))
        return (None, None, None, *summed, d_initial.sum(0), *(x[0] for x in cotangents))


class _Back(NamedTuple):
    """What the backward pass goes over."""

    iteration: Iteration
    sizes: Sizes
    given: Entering
    entered: Held
    marks: tuple[Tensor, Tensor]
    cotangents: Held
    found: Entering
    d_initial: Tensor

    def stretch(self, start: int, end: int, rooms: list[Momenta], d_reads: Tensor, d_anchors: Tensor) -> None:
        """Go back from segment `end` to `start`; room for where iterations start, where they end, and cotangents."""
        sizes, given, found, iteration = self.sizes, self.given, self.found, self.iteration
        starts, ends, each = rooms
        _form(starts, iteration, given, self.entered, sizes, start, 0, end - start)
        tail = (iteration.half, precision())
        for n in reversed(range(start, end)):
            place = (n * sizes.rows, (n - start) * sizes.rows, sizes.rows)
            write_adjoint[(sizes.rows * sizes.writers,)](
                *starts,
                given.queries,
                *given[8:],
                iteration.table,
                d_reads,
                self.cotangents.weights,
                *ends[:2],
                *each[:2],
                *place,
                len(iteration.table),
                *sizes[3:5],
                *sizes[6:],
                sizes.tiles[0],
                *sizes.cut,
                sizes.tiles[3],
                *tail,
                **sizes.launch,
            )
            carry_adjoint[(sizes.rows, sizes.blocks)](
                given.keys,
                *given[2:],
                *self.marks,
                *each[:2],
                d_reads,
                d_anchors,
                found.values,
                self.d_initial,
                *self.cotangents,
                *place,
                *sizes[2:],
                *sizes.tiles[:3],
                VALUE_BLOCK,
                *tail,
                **sizes.launch_rows,
            )
        self._rest(start, end, rooms, d_reads)

    def _rest(self, start: int, end: int, rooms: list[Momenta], d_reads: Tensor) -> None:
        """Find what no other segment waits for."""
        sizes, given = self.sizes, self.given
        gradients[((end - start) * sizes.rows, sizes.parts)](
            *given[:7],
            given.mix,
            *self.entered,
            *rooms[1][:2],
            *rooms[2][:2],
            d_reads,
            *self.cotangents[:2],
            *self.found,
            start * sizes.rows,
            sizes.rows,
            sizes.segments * sizes.rows,
            *sizes[3:],
            *sizes.tiles[:2],
            sizes.feature_block,
            sizes.tiles[3],
            self.iteration.half,
            precision(),
            num_warps=8,
            num_stages=1,
        )
