"""Stored cases of a memory under a schedule."""

from typing import Final

from spec_tests.chapters.schedule.calls import call, config
from spec_tests.drawing.inputs import normal
from spec_tests.port import Op, Scalar
from spec_tests.vectors.source import Family, Source

_TTL: Final = Family("TTL", Op.MEMORY_SCHEDULE)
WRITTEN: Final = "TTL-1 TTL-2 TTL-3 TTL-5 SHARD-1 SHARD-2 SHARD-3 RULE-27"


def _gradient(number: int, asked: dict[str, Scalar]) -> Source:
    inputs = call(asked, 1900 + number, batch=1, heads=1, features=2, time=6)
    names = ("weights", "momentum", "anchor", "window_keys", "window_values", "waiting", "carry")
    cotangents = {name: normal(1950 + 10 * number + i, *inputs[name].shape) for i, name in enumerate(names)}
    cotangents["reads"] = normal(1959 + 10 * number, *inputs["values"].shape)
    why = f"gradients over a border, Pi of the {asked['projection_span']}, writes {asked['writes']}"
    return _TTL.case(number, "SHARD-5 TTL-2", why, asked, inputs, cotangents)


STORED: Final = (
    _TTL.case(1, WRITTEN, "every third token, shards of eight, a ramp of two borders", config(), call(config(), 1901)),
    _TTL.case(
        2,
        WRITTEN,
        "every second token, shards of a chunk without a ramp, Pi of the chunk",
        config(2, 4, "chunk", step_chunk=0, warmup_crossings=0),
        call(config(2, 4, "chunk"), 1902, batch=3, heads=1),
    ),
    _TTL.case(
        3,
        "TTL-4 TTL-5 SHARD-1 SHARD-3",
        "nothing is written, Pi of the document in shards",
        config(3, 8, "document", writes=False),
        call(config(), 1903, heads=1),
    ),
    _TTL.case(
        4,
        WRITTEN,
        "a write at every token, no shards, chunks of three",
        config(1, 0, "document", chunk=3),
        call(config(1, 0), 1904, heads=1, window=3),
    ),
    _TTL.case(
        5,
        "TTL-4",
        "nothing is written, Pi of the chunk",
        config(2, 8, "chunk", writes=False),
        call(config(2), 1905, heads=1, batch=1),
    ),
    _gradient(6, config()),
    _gradient(7, config(2, 4, "chunk", warmup_crossings=1)),
    _gradient(8, config(1, 8, "document", writes=False)),
)
