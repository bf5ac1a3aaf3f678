"""The part of the page that says what a layer costs."""

from spec_tests.matrix.model import Matrix
from spec_tests.report.elements import Html, cell, element, row, table, text


def speeds(matrix: Matrix) -> Html:
    """Return the table of layers, nothing where none was timed."""
    if not matrix.speeds:
        return Html("")
    heads = ("layer", "seconds", "of the reference", "times as long", "from", "to", "MiB", "of the reference")
    rows = (
        row(
            cell(text(each.name)),
            *(cell(text(f"{number:.3f}"), "number") for number in (each.theirs, each.ours)),
            *(cell(text(f"{number:.2f}"), "number") for number in (each.ratio, each.least, each.most)),
            *(cell(text(f"{number:.0f}"), "number") for number in (each.mebibytes, each.our_mebibytes)),
        )
        for each in matrix.speeds
    )
    batch, time, width = matrix.speeds[0].shape
    said = (
        f"Forward and backward of {batch} rows of {time} tokens at width {width}, one head, one matrix, chunks of 64: "
    )
    said += f"CPU seconds of one thread, medians of {matrix.speeds[0].pairs} alternating pairs (atlas matrix --speed). "
    said += "The layers do not compute one function."
    return Html(element("h2", text("What a layer costs")) + element("p", text(said)) + table(heads, rows, "counts"))
