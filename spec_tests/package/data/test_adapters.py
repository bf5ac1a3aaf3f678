"""A row of a public data set becomes the example that its publisher means, in every form in which it is exported.

Every test names the mistake that was put into an adapter by hand and that it caught.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from atlas_ref.data.adapters.programs import without_docstring
from atlas_ref.data.adapters.row import Example, Skip
from atlas_ref.data.adapters.table import SETS
from atlas_ref.errors import UserError
from spec_tests.package.data.set_rows import ROWS, WOOD, changed, read

ARC = [{"text": text, "label": label} for text, label in zip(WOOD[:3], "ABC", strict=True)]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_as_published_is_the_example_that_it_means(name: str) -> None:
    """Kills: `<<..>>` or a comma left in GSM8K; answerKey or label taken one too far or for a number; facts in the
    prompt; the docstring left in the code; the second span; other paragraphs before those that hold the facts.
    """
    fields, example = ROWS[name]
    assert read(name, fields) == [example]


def test_the_table_has_the_fourteen_sets_of_seven_domains() -> None:
    assert {each.name for each in SETS} == ROWS.keys()
    assert (len(SETS), len({each.domain for each in SETS})) == (14, 7)


@dataclass
class Mirror:
    """A set, fields that a mirror has otherwise, and what of the example differs."""

    name: str
    fields: dict[str, Any]
    example: dict[str, Any]


MIRRORS = {
    "svamp: answer as text": Mirror("svamp", {"Answer": "5.0"}, {}),
    "svamp: answer as integer": Mirror("svamp", {"Answer": 5}, {}),
    "svamp: a fraction stays one": Mirror("svamp", {"Answer": "145.50"}, {"answer": "145.5", "gold": "145.5"}),
    "svamp: below zero": Mirror("svamp", {"Answer": -1050.0}, {"answer": "-1050", "gold": "-1050"}),
    "asdiv: no unit": Mirror("asdiv", {"answer": "9"}, {}),
    "asdiv: thousands": Mirror("asdiv", {"answer": "1,209 (apples)"}, {"answer": "1209", "gold": "1209"}),
    "mbpp: sanitised": Mirror(
        "mbpp",
        {"text": ..., "prompt": ROWS["mbpp"][0]["text"], "test_imports": ["import math"]},
        {"checks": ("import math", *ROWS["mbpp"][1].checks)},
    ),
    "arc: list of objects": Mirror("arc_challenge", {"choices": ARC}, {}),
    "arc: the authors' nesting": Mirror(
        "arc_challenge", {"question": {"stem": "Which rusts?", "choices": ARC}, "choices": ...}, {}
    ),
    "arc: labels as numbers": Mirror(
        "arc_easy", {"choices": {"text": [*WOOD], "label": [1, 2, 3, 4]}, "answerKey": 1}, {}
    ),
    "strategyqa: facts as list": Mirror("strategyqa", {"facts": ["Salt is denser than oil."]}, {}),
    "strategyqa: answer as text": Mirror("strategyqa", {"answer": "False"}, {}),
    "drop: list of objects": Mirror(
        "drop", {"answers_spans": [{"spans": "Smith", "types": "span"}, {"spans": "Jones", "types": "span"}]}, {}
    ),
    "drop: list of objects of lists": Mirror("drop", {"answers_spans": [{"spans": ["Smith"], "types": ["span"]}]}, {}),
    "hotpotqa: list of objects": Mirror(
        "hotpotqa",
        {
            "context": [
                {"title": title, "sentences": some}
                for title, some in zip(*ROWS["hotpotqa"][0]["context"].values(), strict=True)
            ],
            "supporting_facts": [{"title": "X", "sent_id": 0}, {"title": "Maker", "sent_id": 0}],
        },
        {},
    ),
    "hotpotqa: pairs": Mirror(
        "hotpotqa",
        {
            "context": [[*pair] for pair in zip(*ROWS["hotpotqa"][0]["context"].values(), strict=True)],
            "supporting_facts": [["Maker", 0], ["X", 1]],
        },
        {},
    ),
    "boolq: a label": Mirror("boolq", {"answer": ..., "label": 0}, {"answer": "no", "gold": "no", "right": 1}),
    "piqa: label as text": Mirror("piqa", {"label": "1"}, {}),
    "hellaswag: label as number": Mirror("hellaswag", {"label": 2}, {}),
}


@pytest.mark.parametrize("mirror", MIRRORS.values(), ids=MIRRORS)
def test_a_mirror_gives_the_same_example(mirror: Mirror) -> None:
    """Kills: one form of what is nested; labels compared as they come, 1 beside "1"; False read as truth."""
    assert read(mirror.name, changed(mirror.name, **mirror.fields)) == [ROWS[mirror.name][1]._replace(**mirror.example)]


SKIPPED = [
    ("piqa", {"label": -1}, Skip.HIDDEN),
    ("hellaswag", {"label": ""}, Skip.HIDDEN),
    ("arc_easy", {"answerKey": ""}, Skip.HIDDEN),
    ("boolq", {"answer": None}, Skip.HIDDEN),
    ("drop", {"answers_spans": {"spans": [], "types": []}}, Skip.NO_SPAN),
    ("gsm8k", {"question": " "}, Skip.BLANK),
    ("gsm8k", {"answer": "So it is.\n#### many"}, Skip.NO_NUMBER),
    ("svamp", {"Question": ""}, Skip.BLANK),
    ("asdiv", {"answer": "3 (hours); 20 (minutes)"}, Skip.NO_NUMBER),
    ("asdiv", {"answer": "10:30 (o'clock)"}, Skip.NO_NUMBER),
    ("asdiv", {"answer": "Ann (name)"}, Skip.NO_NUMBER),
    ("mbpp", {"test_list": []}, Skip.NO_TEST),
    ("codexglue", {"docstring": " "}, Skip.BLANK),
    ("codexglue", {"language": "java"}, Skip.NOT_PYTHON),
    ("codexglue", {"code": "x = 1"}, Skip.UNREADABLE),
    ("hotpotqa", {"answer": ""}, Skip.BLANK),
    ("piqa", {"sol1": " "}, Skip.BLANK),
]


@pytest.mark.parametrize(("name", "fields", "reason"), SKIPPED)
def test_a_row_that_is_no_example_is_skipped_with_the_reason(name: str, fields: dict[str, Any], reason: Skip) -> None:
    """Kills: label -1 taken for the last choice, an empty one for the first; an answer of nothing."""
    assert read(name, changed(name, **fields)) == [reason]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("piqa", "label"),
        ("hellaswag", "label"),
        ("boolq", "answer"),
        ("hotpotqa", "answer"),
        ("drop", "answers_spans"),
        ("strategyqa", "answer"),
    ],
)
def test_a_label_that_a_test_split_leaves_out_is_hidden_and_elsewhere_missing(name: str, field: str) -> None:
    """Kills: a test split that stops the reading; a training row without its label passed over."""
    row = changed(name, **{field: ...})
    assert read(name, row, split="test") == [Skip.HIDDEN]
    with pytest.raises(UserError, match=rf'^file, row 1: {name} must have the field "{field}"'):
        read(name, row)


NEEDED = {
    "gsm8k": "question answer",
    "svamp": "Body Question Answer",
    "asdiv": "body question answer",
    "mbpp": "text code test_list",
    "codexglue": "code docstring",
    "arc_easy": "question choices answerKey",
    "strategyqa": "question answer",
    "drop": "passage question answers_spans",
    "hotpotqa": "question answer supporting_facts context",
    "boolq": "passage question answer",
    "piqa": "goal sol1 sol2 label",
    "hellaswag": "ctx endings label",
    "wikitext": "text",
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in NEEDED for field in NEEDED[name].split()])
def test_a_field_that_is_missing_is_named_with_set_and_row(name: str, field: str) -> None:
    """Kills: a KeyError; the row before or after it named."""
    with pytest.raises(UserError) as caught:
        read(name, ROWS[name][0], changed(name, **{field: ...}))
    said = str(caught.value)
    assert said.startswith(f'file, row 2: {name} must have the field "{field}"')
    assert "; it has " in said
    assert "\n" not in said


REFUSED = [
    ("gsm8k", {"answer": "It is 5."}, '"answer" of gsm8k must end with "####" and a number; it is "It is 5."'),
    ("gsm8k", {"question": 5}, '"question" of gsm8k must be Unicode text; it is 5'),
    ("svamp", {"Answer": True}, '"Answer" of svamp must be Unicode text or a finite number; it is true or false'),
    ("arc_easy", {"answerKey": "A"}, '"answerKey" of arc_easy must be one of the labels 1, 2, 3, 4; it is "A"'),
    ("arc_easy", {"choices": {"text": ["a"], "label": []}}, '"choices" of arc_easy must hold "text" and "label"'),
    ("arc_easy", {"choices": [{"text": "a"}]}, '"choices" of arc_easy must hold "text" and "label"'),
    ("piqa", {"label": 2}, '"label" of piqa must be below the number of choices, 2; it is 2'),
    ("hellaswag", {"label": "x"}, '"label" of hellaswag must be an index; it is "x"'),
    ("hellaswag", {"endings": "abcd"}, '"label" of hellaswag must be below the number of choices, 1'),
    ("boolq", {"answer": "maybe"}, '"answer" of boolq must be true or false; it is "maybe"'),
    ("mbpp", {"test_list": [1]}, '"test_list" of mbpp must be a list of texts; it is a list'),
    ("hotpotqa", {"context": "X"}, '"context" of hotpotqa must hold "title" and "sentences"'),
]


@pytest.mark.parametrize(("name", "fields", "said"), REFUSED)
def test_a_field_of_another_kind_is_refused_in_one_sentence(name: str, fields: dict[str, Any], said: str) -> None:
    """Kills: answerKey taken for an index; a text read as a list of its letters."""
    with pytest.raises(UserError) as caught:
        read(name, changed(name, **fields))
    assert str(caught.value).startswith(f"file, row 1: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "bare"),
    [
        (
            "def f(a):\n    # why\n    r'''Doc\n\n    more'''\n    print 'py2', `a`, 0777\n",
            "def f(a):\n    # why\n    print 'py2', `a`, 0777\n",
        ),
        (
            "@wrap(key=lambda a: 'no')\ndef f(a):\n  'Doc'\n  return a",
            "@wrap(key=lambda a: 'no')\ndef f(a):\n  return a",
        ),
        ("@lambda f: f\ndef f(a):\n  'Doc'\n  return a", "@lambda f: f\ndef f(a):\n  return a"),
        ("async def f(a) -> T[1:2]:\n\n  'Doc'\n  return 'kept'", "async def f(a) -> T[1:2]:\n\n  return 'kept'"),
        ("def f(a): 'Doc'; return a", "def f(a): return a"),
        ("def f(a):\n  return 'no docstring'", "def f(a):\n  return 'no docstring'"),
        ("def f(a):\n  'Doc'", "def f(a):"),
        ("def f(", None),
        ("def f():\n  '''open", None),
        ("", None),
    ],
)
def test_a_docstring_is_taken_out_of_its_function_and_no_other_string(code: str, bare: str | None) -> None:
    """Kills: the first string of the text taken for the docstring; a default, slice or lambda taken for the body;
    code of Python 2 refused.
    """
    assert without_docstring(code) == bare


def test_paragraphs_beside_the_facts_stay_out_whole_where_there_is_no_room() -> None:
    """Kills: a prompt that is cut where the facts are; a paragraph in part; the budget of the answer forgotten."""
    whole = ROWS["hotpotqa"][1]
    less = whole.prompt.replace("More noise: M.\n", "")
    size = len(f"{whole.prompt}\n{whole.answer}") + 1
    for room, prompt in ((size + 1, whole.prompt), (size - 1, less), (0, less.replace("Noise: N.\n", ""))):
        assert read("hotpotqa", ROWS["hotpotqa"][0], room=room) == [whole._replace(prompt=prompt)]


def test_articles_begin_at_headings_of_the_first_level() -> None:
    """Kills: an article a line; sections taken for articles; what stands before the first heading lost."""
    lines = [
        "",
        "before",
        "",
        " = Salt = ",
        "",
        " It is a = b = c . ",
        " = = Uses = = ",
        " = = half = ",
        " food ",
        "",
        " = Iron = ",
        " hard ",
    ]
    found = read("wikitext", *({"text": f"{line}\n"} for line in lines))
    texts = ["before", "= Salt = \n\n It is a = b = c . \n = = Uses = = \n = = half = \n food", "= Iron = \n hard"]
    assert found == [Example("", text, text) for text in texts]
