"""The fourteen data sets: what they are called, what they teach, how an answer is judged, how a row is read.

loss        on the answer and its end alone; on every token of language
split       as the file is named: nothing but the training split, or what has no split, is trained on
whole       ASDiv is published as one split named validation: it is all there is of it
prefers     of the configurations of one set the first that is there is read: the others hold the same rows
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from atlas_ref.data.adapters.articles import wikitext
from atlas_ref.data.adapters.choosing import arc, hellaswag, piqa
from atlas_ref.data.adapters.programs import codexglue, mbpp
from atlas_ref.data.adapters.reading import boolq, drop, hotpotqa, strategyqa
from atlas_ref.data.adapters.row import Example, Row, Skip
from atlas_ref.data.adapters.word_problems import asdiv, gsm8k, svamp

Domain = Literal["math", "code", "science", "commonsense", "reasoning", "qa", "language"]
Measure = Literal["number", "exact_match", "word_f1", "choice", "token_accuracy"]
Reader = Callable[[Iterable[Row]], Iterator[Example | Skip]]


class DataSet(NamedTuple):
    """One of the fourteen."""

    name: str
    hub: str
    """Where it is published."""
    domain: Domain
    measure: Measure
    """How an answer is judged (`atlas_ref.metrics.said`); of code and language, how many next tokens are right."""
    read: Reader
    names: tuple[str, ...]
    """What the names of its files or folders hold, in small letters and digits."""
    prefers: tuple[str, ...] = ()
    whole: str = ""
    """The split that is the whole set, whatever it is called."""


def each(adapter: Callable[[Row], Example | Skip]) -> Reader:
    """Return a reader of rows that do not depend on each other."""
    return lambda rows: map(adapter, rows)


WIKITEXTS = ("wikitext103rawv1", "wikitext103v1", "wikitext2rawv1", "wikitext2v1")
SETS = (
    DataSet("gsm8k", "openai/gsm8k", "math", "number", each(gsm8k), ("gsm8k",), ("main", "socratic")),
    DataSet("svamp", "ChilleD/SVAMP", "math", "number", each(svamp), ("svamp",)),
    DataSet("asdiv", "EleutherAI/asdiv", "math", "number", each(asdiv), ("asdiv",), whole="validation"),
    DataSet(
        "mbpp", "google-research-datasets/mbpp", "code", "token_accuracy", each(mbpp), ("mbpp",), ("full", "sanitized")
    ),
    DataSet(
        "codexglue",
        "google/code_x_glue_ct_code_to_text",
        "code",
        "word_f1",
        each(codexglue),
        ("codexglue", "codetotext"),
        ("python",),
    ),
    DataSet("arc_easy", "allenai/ai2_arc ARC-Easy", "science", "choice", each(arc), ("arceasy",)),
    DataSet("arc_challenge", "allenai/ai2_arc ARC-Challenge", "science", "choice", each(arc), ("arcchallenge",)),
    DataSet("strategyqa", "ChilleD/StrategyQA", "reasoning", "choice", each(strategyqa), ("strategyqa",)),
    DataSet("drop", "ucinlp/drop", "reasoning", "exact_match", each(drop), ("drop",)),
    DataSet(
        "hotpotqa",
        "hotpotqa/hotpot_qa",
        "qa",
        "exact_match",
        each(hotpotqa),
        ("hotpotqa", "hotpot"),
        ("distractor", "fullwiki"),
    ),
    DataSet("boolq", "google/boolq", "qa", "choice", each(boolq), ("boolq",)),
    DataSet("piqa", "ybisk/piqa", "commonsense", "choice", each(piqa), ("piqa",)),
    DataSet("hellaswag", "Rowan/hellaswag", "commonsense", "choice", each(hellaswag), ("hellaswag",)),
    DataSet("wikitext", "Salesforce/wikitext", "language", "token_accuracy", wikitext, ("wikitext",), WIKITEXTS),
)
