"""Prompts with answers are read from rows by the names of their fields; what is no example is refused or counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.config import AnswersConfig, load_config
from atlas_ref.data.answers import PromptAnswer, read_answers, split_examples
from atlas_ref.errors import UserError
from spec_tests.package.data.answer_inputs import shared_file, write_rows

FIELDS = AnswersConfig(prompt_key="question|Body+Question", answer_key="answer|Answer", joint="\n")
GOOD = [{"question": "q", "answer": "a"}, {"question": "r", "answer": "b"}]


def test_fields_are_read_by_their_names_whole_numbers_without_a_point(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "question": "One?", "answer": "yes\n#### 1"},
        {"Body": "Two here.", "Question": "How many?", "Answer": 51.0},
        {"question": "half", "answer": 0.5},
        {"question": 3, "answer": -2},
        {"question": "1e20", "answer": 1e20},
    ]
    found = read_answers(str(write_rows(tmp_path / "rows.jsonl", rows)), FIELDS)
    assert found.examples == [
        PromptAnswer("One?", "yes\n#### 1"),
        PromptAnswer("Two here.\nHow many?", "51"),
        PromptAnswer("half", "0.5"),
        PromptAnswer("3", "-2"),
        PromptAnswer("1e20", "1e+20"),
    ]
    assert [(file.name, file.kind) for file in found.files] == [("rows.jsonl", "jsonl")]


def test_a_file_that_is_one_list_is_read_object_by_object(tmp_path: Path) -> None:
    """Kills: an entry that is left out at either end; a comma that ends the list; a file read as lines."""
    file = tmp_path / "rows.json"
    for text in (
        json.dumps(GOOD),
        json.dumps(GOOD, indent=4) + "\n",
        "\ufeff \n" + json.dumps(GOOD).replace("}, ", "}\n,"),
    ):
        file.write_text(text, encoding="utf-8")
        assert read_answers(str(file), FIELDS).examples == [PromptAnswer("q", "a"), PromptAnswer("r", "b")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"question": "q", "answer": "a"}\n', ": must be one list, [{...}, {...}]; a file with an object a line is"),
        ("", ": must be one list"),
        ('[{"question": "q", "answer": "a"}, {"question": "q"}]', ', entry 2: must hold "answer", or "Answer"; it has'),
        ('[{"question": "q", "answer": "a"}, 3]', ', entry 2: must be an object with "question"'),
        ('[{"question": "q", "answer": "a"},]', ", entry 2: is not JSON"),
        ('[{"question": "q", "answer": "a"} {}]', ", entry 1: must be followed by a comma or the end of the list."),
        ('[{"question": "q", "answer": "a"}', ", entry 1: must be followed by a comma or the end of the list."),
        ('[{"question": "q", "answer": "a"}] []', ": goes on behind the end of its list."),
        ("[" * 200_000, ", entry 1: is not JSON"),
        ("[]", ": holds 0 prompts with an answer"),
    ],
)
def test_a_list_that_is_none_is_refused_in_one_sentence_with_file_and_entry(
    text: str, complaint: str, tmp_path: Path
) -> None:
    """Kills: a list that may be cut off, or be followed by anything; an error without its place."""
    file = tmp_path / "rows.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_answers(str(file), FIELDS)
    assert str(caught.value).startswith(f"{file}{complaint}")
    assert "\n" not in str(caught.value)


def test_a_list_in_a_folder_is_left_out_with_the_reason(tmp_path: Path) -> None:
    """Kills: a description of the data that is read as data."""
    write_rows(tmp_path / "a.jsonl", GOOD)
    (tmp_path / "info.json").write_text("[]")
    assert [(out.name, out.reason) for out in read_answers(str(tmp_path), FIELDS).left_out] == [
        ("info.json", "ends in .json")
    ]


@pytest.mark.parametrize("blank", [{"question": " ", "answer": "a"}, {"question": "q", "answer": None}])
def test_a_blank_prompt_or_answer_is_skipped_and_counted(blank: dict[str, Any], tmp_path: Path) -> None:
    found = read_answers(str(write_rows(tmp_path / "rows.jsonl", [GOOD[0], blank, GOOD[1]])), FIELDS)
    assert (len(found.examples), found.empty) == (2, 1)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"question": "q", "label": "a"}, 'must hold "answer", or "Answer"; it has "question", "label"'),
        ({"Body": "b", "answer": "a"}, 'must hold "question", or "Body" and "Question"; it has "Body", "answer"'),
        ({"question": "q", "answer": ["a"]}, '"answer" must be Unicode text or a finite number; it is a list'),
        ({"question": "q", "answer": True}, '"answer" must be Unicode text or a finite number; it is true or false'),
        (
            {"question": float("nan"), "answer": "a"},
            '"question" must be Unicode text or a finite number; it is no finite',
        ),
        (["q", "a"], 'must be an object with "question", or "Body" and "Question"; it is a list'),
    ],
)
def test_a_row_without_a_field_is_refused_in_one_sentence_with_file_row_and_field(
    row: Any, complaint: str, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [*GOOD, row])
    with pytest.raises(UserError) as caught:
        read_answers(str(file), FIELDS)
    assert str(caught.value).startswith(f"{file}, line 3: {complaint}")
    assert "\n" not in str(caught.value)


def test_the_sentence_on_a_missing_field_says_which_setting_names_it(tmp_path: Path) -> None:
    for key in ("prompt", "answer"):
        fields = FIELDS.model_copy(update={f"{key}_key": "text"})
        with pytest.raises(UserError, match=rf"name the {key} with data\.answers\.{key}_key\.$"):
            read_answers(str(write_rows(tmp_path / "rows.jsonl", GOOD)), fields)


def test_plain_text_and_a_single_example_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("question answer")
    with pytest.raises(UserError, match=r"a\.txt: is plain text; prompts and answers are read of \.jsonl"):
        read_answers(str(tmp_path / "a.txt"), FIELDS)
    with pytest.raises(UserError, match="holds 1 prompts with an answer"):
        read_answers(str(write_rows(tmp_path / "one.jsonl", GOOD[:1])), FIELDS)


def test_a_folder_is_read_in_the_order_of_its_names_and_what_is_no_data_is_listed(tmp_path: Path) -> None:
    for name, row in (("b.jsonl", GOOD[1]), ("a.jsonl", GOOD[0])):
        write_rows(tmp_path / name, [row])
    (tmp_path / "notes.doc").write_text("x")
    found = read_answers(str(tmp_path), FIELDS)
    assert [example.prompt for example in found.examples] == ["q", "r"]
    assert found.left_out == [("notes.doc", "ends in .doc")]


def test_columns_of_parquet_are_fields_too(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"question": ["q", "r"], "answer": [1.0, 2.5], "other": [[1], [2]]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    found = read_answers(str(tmp_path / "rows.parquet"), FIELDS)
    assert found.examples == [PromptAnswer("q", "1"), PromptAnswer("r", "2.5")]
    with pytest.raises(UserError, match=r'rows\.parquet: must hold "gold"; it has "question", "answer", "other"'):
        read_answers(str(tmp_path / "rows.parquet"), FIELDS.model_copy(update={"answer_key": "gold"}))


@pytest.mark.parametrize(("count", "fraction", "validated"), [(10, 0.2, 2), (10, 0.01, 1), (10, 0.99, 9), (3, 0.5, 2)])
def test_the_last_examples_are_validated_on_and_never_trained_on(count: int, fraction: float, validated: int) -> None:
    examples = [PromptAnswer(str(number), "a") for number in range(count)]
    training, validation = split_examples(examples, fraction)
    assert training + validation == examples
    assert len(validation) == validated


@pytest.mark.parametrize("field", ["prompt_key", "answer_key"])
@pytest.mark.parametrize("key", ["a+", "|a", "a||b"])
def test_a_key_with_an_empty_name_in_it_is_refused(field: str, key: str) -> None:
    with pytest.raises(UserError, match=rf"data\.answers\.{field} is .*it must be a name"):
        load_config("tiny", [f"data.answers.{field}='{key}'"])


def test_answers_need_a_path() -> None:
    with pytest.raises(UserError, match=r'data\.path is empty; it must name a file or folder for data\.source = "answ'):
        load_config("tiny", ["data.source=answers"])


def test_grade_school_problems_are_read_whole() -> None:
    file = shared_file("gsm8k_test.jsonl")
    if file is None:
        pytest.skip("gsm8k_test.jsonl does not lie beside the project")
    found = read_answers(str(file), FIELDS)
    assert (len(found.examples), found.empty) == (1319, 0)
    assert found.examples[1].answer.endswith("#### 3")
    assert found.examples[1].prompt.startswith("A robe takes 2 bolts")


def test_word_problems_with_numbers_for_answers_are_read_whole(tmp_path: Path) -> None:
    file = shared_file("svamp.json")
    if file is None:
        pytest.skip("svamp.json does not lie beside the project")
    rows = json.loads(file.read_text())
    found = read_answers(str(write_rows(tmp_path / "svamp.jsonl", rows)), FIELDS)
    assert (len(found.examples), found.empty) == (1000, 0)
    assert found.examples[0] == PromptAnswer(f"{rows[0]['Body']}\n{rows[0]['Question']}", "51")
    assert all(float(example.answer) == row["Answer"] for example, row in zip(found.examples, rows, strict=True))
