"""Data are identified as a whole: whatever training or validation would read otherwise is refused by its file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.config import RunConfig
from atlas_ref.data import identity
from atlas_ref.data.identity import FileIdentity, identify
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from atlas_ref.storage.checkpoint import find_checkpoint
from spec_tests.package.micro.runs import RECALL, go_on, micro_config, start, stop_before

LINE = "one two three four five six seven\n"


def config_of(path: Path, *overrides: str) -> RunConfig:
    return micro_config("data.source='path'", f"data.path='{path}'", "data.validation_fraction=0.3", *overrides)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `texts` and a run of two steps on it, of which the last quarter of the text has seen nothing."""
    root = tmp_path_factory.mktemp("identity")
    (root / "texts" / "sub").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (root / "texts" / name).write_text(f"{name}\n" + LINE * 20)
    start(config_of(root / "texts"), root / "run", stop_before(3))
    return root


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, moved as a whole."""
    return shutil.copytree(trained, tmp_path / "copy")


def rewrite(name: str) -> Callable[[Path], object]:
    """Return a change of one file that keeps its length, and changes its last word alone."""

    def change(texts: Path) -> None:
        text = (texts / name).read_text()
        (texts / name).write_text(text.removesuffix("seven\n") + "eight\n")

    return change


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "training text": (rewrite("b.txt"), "(changed: b.txt)"),
    "validation text": (rewrite("sub/c.txt"), "(changed: sub/c.txt)"),
    "a file less": (lambda texts: (texts / "b.txt").unlink(), "(gone: b.txt)"),
    "a file more": (lambda texts: (texts / "z.txt").write_text(LINE), "(new: z.txt)"),
    "another order": (lambda texts: (texts / "a.txt").rename(texts / "z.txt"), "(gone: a.txt; new: z.txt)"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_data_that_changed_anywhere_are_refused_by_the_name_of_the_file(change: str, place: Path) -> None:
    """Kills: comparing the first batch alone, which all but the last of these changes leave as it is."""
    apply, complaint = CHANGES[change]
    apply(place / "texts")

    with pytest.raises(UserError, match="the data are not those that this run was trained on") as caught:
        go_on(config_of(place / "texts"), place / "run")
    assert complaint in str(caught.value)


def test_a_branch_is_refused_other_data_too(place: Path) -> None:
    """Kills: comparing the data only in the run's own directory; `best` would compare the losses of two texts."""
    rewrite("sub/c.txt")(place / "texts")

    with pytest.raises(UserError, match=r"changed: sub/c\.txt"):
        go_on(config_of(place / "texts"), place / "branch", find_checkpoint(place / "run"))
    assert not (place / "branch").exists()


def test_data_that_moved_or_were_renamed_in_their_order_are_the_same(place: Path) -> None:
    """Kills: absolute names in the identity, and a data.path that a resumed run may not change."""
    (place / "texts").rename(place / "moved")
    (place / "moved" / "b.txt").rename(place / "moved" / "bb.md")

    assert go_on(config_of(place / "moved", "train.max_steps=3"), place / "run").step == 3
    named = find_checkpoint(place / "run").data.files
    assert [file.name for file in named] == ["a.txt", "bb.md", "sub/c.txt"]


def test_the_identity_covers_files_task_tokenizer_and_what_the_reader_makes_of_them() -> None:
    """Kills: any part left out of the comparison or of the digest."""
    file = FileIdentity(name="a.txt", kind="text", bytes=1, sha256="0" * 64)
    parts: dict[str, Any] = {"text_key": "text", "task": {"pairs": 1}, "tokenizer": "{}", "sample": "1" * 64}
    base = identify([file], **parts)
    changes: list[dict[str, Any]] = [
        {"text_key": "body"},
        {"task": {"pairs": 2}},
        {"tokenizer": "[]"},
        {"sample": "2" * 64},
    ]
    others = [identify([file], **(parts | change)) for change in changes]
    others += [
        identify([file.model_copy(update={key: value})], **parts) for key, value in (("kind", "x"), ("bytes", 2))
    ]

    assert len({identity.digest for identity in (base, *others)}) == 1 + len(others)
    assert len({base.difference(other) for other in others}) == 5
    assert base.difference(identify([file.model_copy(update={"name": "b.txt"})], **parts)) is None


def test_a_generated_task_is_identified_by_its_parameters() -> None:
    """Kills: a digest over no files, which is equal for every task."""
    one, other = (open_source(micro_config(*RECALL, f"data.recall.gap={gap}")).identity for gap in (40, 41))

    assert one.difference(one) is None
    assert one.difference(other) == "the generated task has other parameters"
    assert one.other_text(other) == "the generated task has other parameters"


def test_more_files_than_are_named_are_known_by_one_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a description that grows with the folder, or one that forgets the files beyond its limit."""
    monkeypatch.setattr(identity, "MOST_NAMED", 2)
    files = [FileIdentity(name=f"{n}.txt", kind="text", bytes=n, sha256="0" * 64) for n in range(4)]
    base, less = (identify(some, text_key="", task={}, tokenizer=None, sample="1" * 64) for some in (files, files[:-1]))

    assert base.files == less.files == ()
    assert base.difference(less) == "the contents of the files have changed (4 files then, 3 now)"
