"""A row of each of the fourteen sets as its publisher has it, written by hand, and the example that it is."""

from typing import Any

from atlas_ref.data.adapters.row import Example, Row, Skip
from atlas_ref.data.adapters.table import SETS

Fields = dict[str, Any]
BY_NAME = {each.name: each for each in SETS}
WOOD = ("wood", "iron", "salt", "glass")
ROWS: dict[str, tuple[Fields, Example]] = {
    "gsm8k": (
        {
            "question": "Two boxes of 600 nails each?",
            "answer": "Together 2*600=<<2*600=1200>>1200 nails.\nThat is <<1200>>all.\n#### 1,200",
        },
        Example("Two boxes of 600 nails each?", "Together 2*600=1200 nails.\nThat is all.\n#### 1200", "1200"),
    ),
    "svamp": (
        {
            "ID": "chal-7",
            "Body": "Ann has 8 pens and loses 3",
            "Question": "How many are left?",
            "Equation": "( 8.0 - 3.0 )",
            "Answer": 5.0,
            "Type": "Subtraction",
        },
        Example("Ann has 8 pens and loses 3\nHow many are left?", "5", "5"),
    ),
    "asdiv": (
        {
            "body": "Seven red apples and two green ones are in the basket.",
            "question": "How many apples are in the basket?",
            "solution_type": "Addition",
            "answer": "9 (apples)",
            "formula": "7+2=9",
        },
        Example("Seven red apples and two green ones are in the basket.\nHow many apples are in the basket?", "9", "9"),
    ),
    "mbpp": (
        {
            "task_id": 2,
            "text": "Write a function to double a number.",
            "code": "def double(n):\r\n  return 2 * n\r\n",
            "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
            "test_setup_code": "",
            "challenge_test_list": [],
        },
        Example(
            "Write a function to double a number.\nassert double(2) == 4",
            "def double(n):\n  return 2 * n",
            "def double(n):\n  return 2 * n",
            checks=("assert double(2) == 4", "assert double(0) == 0"),
        ),
    ),
    "codexglue": (
        {
            "id": 0,
            "repo": "a/b",
            "path": "c.py",
            "func_name": "f",
            "original_string": "",
            "language": "python",
            "code": 'def f(a, b={1: 2}):\n    """Add a\n    to b.\n\n    :return: c"""\n    return a + b',
            "code_tokens": ["def"],
            "docstring": "Add a\n    to b.\n\n    :return: c",
            "docstring_tokens": ["Add"],
            "sha": "0",
            "url": "",
        },
        Example("def f(a, b={1: 2}):\n    return a + b", "Add a to b.", "Add a to b."),
    ),
    "arc_easy": (
        {
            "id": "Mercury_7",
            "question": "Which burns?",
            "choices": {"text": [*WOOD], "label": ["1", "2", "3", "4"]},
            "answerKey": "1",
        },
        Example("Which burns?\n1. wood\n2. iron\n3. salt\n4. glass", "wood", "wood", WOOD, 0),
    ),
    "arc_challenge": (
        {
            "id": "Mercury_8",
            "question": "Which rusts?",
            "choices": {"text": [*WOOD[:3]], "label": ["A", "B", "C"]},
            "answerKey": "B",
        },
        Example("Which rusts?\nA. wood\nB. iron\nC. salt", "iron", "iron", WOOD[:3], 1),
    ),
    "strategyqa": (
        {
            "qid": "x",
            "term": "Salt",
            "description": "a mineral",
            "question": "Would salt float on oil?",
            "answer": False,
            "facts": "Salt is denser than oil.",
            "decomposition": ["How dense is salt?"],
        },
        Example("Would salt float on oil?", "no", "no", ("yes", "no"), 1),
    ),
    "drop": (
        {
            "section_id": "nfl_1",
            "query_id": "q",
            "passage": "Smith threw 3 passes, Jones 2.",
            "question": "Who threw more?",
            "answers_spans": {"spans": ["Smith", "Smith threw"], "types": ["span", "span"]},
        },
        Example("Smith threw 3 passes, Jones 2.\nWho threw more?", "Smith", "Smith"),
    ),
    "hotpotqa": (
        {
            "id": "5",
            "question": "Where was the maker of X born?",
            "answer": "Oslo",
            "type": "bridge",
            "level": "hard",
            "supporting_facts": {"title": ["Maker", "X"], "sent_id": [0, 1]},
            "context": {
                "title": ["Noise", "X", "More noise", "Maker"],
                "sentences": [["N."], ["X is a thing.", " Maker made it."], ["M."], ["Maker was born in Oslo."]],
            },
        },
        Example(
            "X: X is a thing. Maker made it.\nMaker: Maker was born in Oslo.\nNoise: N.\nMore noise: M.\n"
            "Where was the maker of X born?",
            "Oslo",
            "Oslo",
        ),
    ),
    "boolq": (
        {"question": "is salt a mineral", "answer": True, "passage": "Salt is a mineral."},
        Example("Salt is a mineral.\nis salt a mineral", "yes", "yes", ("yes", "no"), 0),
    ),
    "piqa": (
        {"goal": "Open a jar.", "sol1": "Hit it.", "sol2": "Turn the lid.", "label": 1},
        Example("Open a jar.", "Turn the lid.", "Turn the lid.", ("Hit it.", "Turn the lid."), 1),
    ),
    "hellaswag": (
        {
            "ind": 4,
            "activity_label": "Cooking",
            "ctx_a": "A man cooks.",
            "ctx_b": "he",
            "ctx": "A man cooks. he",
            "endings": ["sleeps.", "flies.", "stirs the pot.", "melts."],
            "source_id": "s",
            "split": "train",
            "split_type": "indomain",
            "label": "2",
        },
        Example(
            "A man cooks. he", "stirs the pot.", "stirs the pot.", ("sleeps.", "flies.", "stirs the pot.", "melts."), 2
        ),
    ),
    "wikitext": ({"text": " = Salt = \n"}, Example("", "= Salt =", "= Salt =")),
}


def read(name: str, *rows: Fields, split: str = "train", room: int = 10_000) -> list[Example | Skip]:
    """Return what a set makes of rows."""
    return [*BY_NAME[name].read(Row(f"file, row {at}", name, split, room, row) for at, row in enumerate(rows, start=1))]


def changed(name: str, **fields: object) -> Fields:
    """Return the row of a set with other fields; those that are `...` are taken away."""
    return {key: value for key, value in {**ROWS[name][0], **fields}.items() if value is not ...}
