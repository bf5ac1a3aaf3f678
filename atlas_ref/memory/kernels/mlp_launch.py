"""The kernels of the MLP memory over a group of segments: written and read, and back.

A `Group` is where its segments begin, and how many there are. What was known at the anchors is kept of all segments.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from atlas_ref.memory.kernels.held import Mixing, MixingGradients, Pairs, Sizes
from atlas_ref.memory.kernels.mlp_anchor_back import anchor_back, errors_back, slots_back
from atlas_ref.memory.kernels.mlp_forward import known_at_anchor, written
from atlas_ref.memory.kernels.mlp_held import Known, Layers, Passed, States, Units, blocks_of, launch, of_kernels
from atlas_ref.memory.kernels.mlp_keys_back import keys_back
from atlas_ref.memory.kernels.mlp_reads import asked, reads
from atlas_ref.memory.kernels.mlp_reads_back import queries_back, rows_back, units_back
from atlas_ref.memory.kernels.mlp_writes_back import carried_back, written_back


class Call(NamedTuple):
    """What a call is given, as its kernels read it, and M_0."""

    sizes: Sizes
    table: Tensor
    queries: Tensor
    pairs: Pairs
    mix: Mixing
    initial: Layers

    @property
    def hidden(self) -> int:
        """Return how many hidden units there are."""
        return self.initial.inner.shape[-2]

    @property
    def seen(self) -> tuple[Tensor, ...]:
        """Return keys as kernels read them, behind those of the window before the call."""
        return self.pairs.keys, self.pairs.old_keys

    @property
    def rest(self) -> tuple[int | bool | str, ...]:
        """Return the sizes."""
        return of_kernels(self.sizes, self.hidden)


class Group(NamedTuple):
    """Segments that follow one another."""

    first: int
    segments: int


class Adjoint(NamedTuple):
    """What the backward pass adds to: dM and dS in slots, that of the anchor, of M_0 in each row, and of tokens.

    Of what is summed over blocks of hidden units there is one for each.
    """

    weights: Layers
    momentum: Layers
    anchor: Layers
    first: Layers
    queries: Tensor
    pairs: Pairs
    window: tuple[Tensor, Tensor]
    rows: tuple[Tensor, Tensor, Tensor]
    last_rows: tuple[Tensor, Tensor]
    last: tuple[Tensor, Tensor, Tensor]

    def summed(self) -> MixingGradients:
        """Return the gradients of the coordinates: what a segment leaves has those of its last token."""
        d_m, d_s, d_u_s = (x.sum(0) for x in self.last)
        inside, from_s, from_m = self.rows
        from_s[..., -1] += d_s
        from_m[..., -1] += d_m
        d_w, d_u = (x.sum(0) for x in self.last_rows)
        return MixingGradients(inside, from_s, from_m, d_w, d_u, d_u_s)


def empty_adjoint(call: Call, like: States, slots: int) -> Adjoint:
    """Return what the backward pass writes to: nothing yet, for rows that nobody reads and for M_0."""
    sizes, mix, blocks = call.sizes, call.mix, blocks_of(call.hidden)
    d_m, d_s = (Layers(*(x.new_empty(slots, *x.shape) for x in layers)) for layers in like[:2])
    anchor, first = (Layers(*(torch.zeros_like(x) for x in like.weights)) for _ in range(2))
    marks = (sizes.segments, sizes.batch, sizes.heads)
    near_keys, near_values = (mix.inside.new_empty(*marks, sizes.past, x) for x in (sizes.features, sizes.values))
    rows = inside, from_s, from_m = [torch.empty_like(x) for x in mix[:3]]
    if sizes.before:
        for x in rows:
            x[:, :, :, -1] = 0.0
    d_w, d_u = mix.last_u.new_empty(2, blocks, *mix.last_u.shape)
    last_m, last_s, last_u_s = mix.last_u.new_empty(3, blocks, *marks)
    return Adjoint(
        d_m,
        d_s,
        anchor,
        first,
        torch.empty_like(call.queries),
        Pairs._make(torch.empty_like(x) for x in call.pairs),
        (near_keys, near_values),
        (inside, from_s, from_m),
        (d_w, d_u),
        (last_m, last_s, last_u_s),
    )


def write(call: Call, group: Group, states: States, known: Known, anew: bool) -> None:
    """Fill what the segments of a group enter with, from the first slot on, and where `anew` what is known there.

    Else nobody asks for what the last segment leaves.
    """
    sizes, rest, launched, (m, s, a) = call.sizes, call.rest, launch(call.sizes), states
    for n in range(group.segments if anew else group.segments - 1):
        place = (group.first, n, *rest)
        if anew:
            known_at_anchor[(sizes.rows,)](*call.pairs, call.table, *a, *known, *place, **launched)
        written[(sizes.rows, blocks_of(call.hidden))](
            *call.seen,
            *call.mix,
            call.table,
            *call.initial,
            *m,
            *s,
            *a,
            *known[:2],
            states.apart == 2,
            *place,
            **launched,
        )


def _asked(call: Call, group: Group, states: States, known: Known, units: Units) -> tuple[Tensor, ...]:
    """Store what tokens ask of W1 in a group, and return what the kernels of its reads begin with."""
    given = (call.queries, *call.seen, *call.mix[:3], call.table)
    grid = (group.segments * call.sizes.rows, blocks_of(call.hidden))
    inner, place = (states.weights.inner, states.momentum.inner), (group.first, 0, *call.rest)
    asked[grid](*given, *inner, *states.anchors, *known[:2], *units[:3], *place, **launch(call.sizes))
    return given


def read(call: Call, group: Group, states: States, known: Known, units: Units, found: Tensor) -> None:
    """Store what the tokens of a group read [batch, time, heads, values]."""
    _asked(call, group, states, known, units)
    given, outer = (call.queries, *call.mix[:3], call.table), (states.weights.outer, states.momentum.outer)
    grid, place = (group.segments * call.sizes.rows,), (group.first, 0, *call.rest)
    reads[grid](*given, *outer, *known[:2], units.before, units.asked, found, *place, **launch(call.sizes))


def read_back(
    call: Call, group: Group, states: States, known: Known, d_found: Tensor, units: Units, passed: Passed, to: Adjoint
) -> None:
    """Store what the reads of a group ask for, of all but M and S (`mlp_reads_back`)."""
    given = _asked(call, group, states, known, units)
    (m, s, _), programs, launched = states, group.segments * call.sizes.rows, launch(call.sizes)
    place, shares = (group.first, 0, *call.rest), (passed.to_m, passed.to_s)
    units_back[(programs, blocks_of(call.hidden))](
        *given, m.outer, s.outer, *known[:2], d_found, units.before, *units[2:], *shares, *place, **launched
    )
    of_units, found = (*units[:3], units.d_asked), (passed.d_share, passed.d_near, passed.d_close, to.rows[0])
    rows_back[(programs,)](*given[:4], call.table, *known[:2], d_found, *of_units, *found, *place, **launched)
    of_rows, wanted = (d_found, units.d_asked, passed.d_close, *shares), (to.queries, *to.rows[1:])
    queries_back[(programs,)](*given[:3], *given[4:], m.inner, s.inner, *of_rows, *wanted, *place, **launched)


def write_back(
    call: Call, group: Group, states: States, known: Known, d_found: Tensor, units: Units, passed: Passed, to: Adjoint
) -> None:
    """Go from what the last segment of a group left to what the first entered with, and store gradients of pairs."""
    sizes, mix, rest, launched = call.sizes, call.mix, call.rest, launch(call.sizes)
    grid, (m, s, a), (d_m, d_s) = (sizes.rows, blocks_of(call.hidden)), states, to[:2]
    before, felt, tokens = units.before, units.felt, (d_found, units.asked, units.d_asked)
    given, rows = (*call.seen, mix.inside, mix.last_u, call.table), (mix.from_s, mix.from_m, mix.last_u_s, call.table)
    of_slots, left = (a.outer, *known[:2]), (d_m.outer, d_s.outer)
    gradients = (units.d_hidden, units.d_left)
    errors, sums = (passed.d_errors, passed.d_curvature), (passed.parts, passed.d_share)
    for n in reversed(range(group.segments)):
        place = (group.first, n, *rest)
        own = (before, felt, units.d_left, passed.parts)
        written_back[grid](*given, *of_slots, *d_m, *d_s, *own, *to.last_rows, *place, **launched)
        errors_back[grid[:1]](*call.seen, call.table, *known, *sums, *errors, passed.pull, *place, **launched)
        slots_back[grid](*given, *of_slots, *left, before, felt, *gradients, *errors, *place, **launched)
        anchor_back[grid](
            *call.seen,
            call.table,
            *of_slots,
            before,
            units.d_hidden,
            units.d_left,
            *errors,
            *to.anchor,
            *place,
            **launched,
        )
        carried_back[grid](
            call.queries, *rows, *m, *s, *tokens, *d_m, *d_s, *to.anchor, *to.first, *to.last, *place, **launched
        )
    of_keys = (before, felt, units.d_hidden, passed.d_near, passed.d_errors, passed.pull)
    keys_back[(group.segments * sizes.rows,)](
        *given, a.inner, d_m.inner, d_s.inner, *of_keys, *to.pairs[:2], *to.window, group.first, 0, *rest, **launched
    )
