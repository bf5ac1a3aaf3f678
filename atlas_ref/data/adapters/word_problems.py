"""Word problems: GSM8K, SVAMP and ASDiv. What is judged is one number, in the one spelling of `number_of`."""

import re

from atlas_ref.data.adapters.row import Example, Row, Skip
from atlas_ref.metrics.said import number_of

CALCULATION = re.compile(r"<<[^<>]*>>")
"""What a calculator would be asked, in the middle of a solution of GSM8K."""
MARK = "####"


def gsm8k(row: Row) -> Example | Skip:
    """The solution without its `<<..>>`, then `#### n`; n is what is judged, without the commas of thousands."""
    question, answer = row.text("question"), row.text("answer")
    if not question or not answer:
        return Skip.BLANK
    solution, mark, last = answer.rpartition(MARK)
    if not mark:
        raise row.refused("answer", f'must end with "{MARK}" and a number', answer)
    number = number_of(last)
    if number is None:
        return Skip.NO_NUMBER
    solution = CALCULATION.sub("", solution).strip()
    return Example(question, f"{solution}\n{MARK} {number}".lstrip(), number)


def svamp(row: Row) -> Example | Skip:
    """Body, then question; the answer is a number, or in some mirrors its text."""
    body, question, answer = row.text("Body"), row.text("Question"), row.written("Answer")
    return _numbered(f"{body}\n{question}" if body and question else "", answer)


def asdiv(row: Row) -> Example | Skip:
    """Body, then question; the answer is the number before its unit, `9 (apples)`, and must be the only one."""
    body, question, answer = row.text("body"), row.text("question"), row.written("answer")
    several = ";" in answer
    return _numbered(f"{body}\n{question}" if body and question else "", "several" if several else answer.split("(")[0])


def _numbered(prompt: str, answer: str) -> Example | Skip:
    """An example of which the whole answer is a number."""
    if not prompt or not answer:
        return Skip.BLANK
    number = number_of(answer, whole=True)
    return Skip.NO_NUMBER if number is None else Example(prompt, number, number)
