"""The part of the page that says what a layer costs."""

from itertools import groupby

from spec_tests.matrix.model import Matrix, Speed
from spec_tests.report.elements import Html, cell, element, join, row, table, text


def speeds(matrix: Matrix) -> Html:
    """Return the table of layers, nothing where none was timed."""
    if not matrix.speeds:
        return Html("")
    parts = (_of_device(list(each)) for _, each in groupby(matrix.speeds, key=lambda each: each.device))
    said = "The layers do not compute one function (atlas matrix --speed)."
    return Html(element("h2", text("What a layer costs")) + element("p", text(said)) + join(parts))


def _of_device(speeds: list[Speed]) -> Html:
    heads = ("layer", "seconds", "of the reference", "times as long", "from", "to", "MiB", "of the reference")
    rows = (
        row(
            cell(text(each.name)),
            *(cell(text(f"{number:.3f}"), "number") for number in (each.theirs, each.ours)),
            *(cell(text(f"{number:.2f}"), "number") for number in (each.ratio, each.least, each.most)),
            *(cell(text(f"{number:.0f}"), "number") for number in (each.mebibytes, each.our_mebibytes)),
        )
        for each in speeds
    )
    (batch, time, width), device = speeds[0].shape, speeds[0].device
    measure = "CPU seconds of one thread, MiB of the process" if device == "cpu" else "seconds, MiB allocated"
    said = f"{device}: forward and backward of {batch} rows of {time} tokens at width {width}, one head, one matrix, "
    said += f"chunks of 64: {measure}, medians of {speeds[0].pairs} alternating pairs."
    return Html(element("p", text(said)) + table(heads, rows, "counts"))
