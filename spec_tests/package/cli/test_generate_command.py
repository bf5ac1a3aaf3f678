"""`atlas generate`: where its prompt comes from, how many texts it makes, where they end, and how it refuses.

Every test names the fault that was put into the program by hand and that it caught.
"""

import io
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from atlas_ref.data.tokenizer import ByteTokenizer
from atlas_ref.wording import quoted
from cli.main import main
from cli.prompt import MOST_BYTES
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import RECALL, micro_config, start


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step."""
    path = tmp_path_factory.mktemp("trained") / "run"
    start(micro_config("train.max_steps=1", "optim.warmup_steps=1", "model.n_layers=1"), path)
    return path


def test_training_ends_with_the_command_that_samples_from_it_as_a_shell_reads_it(
    atlas: Atlas, trained: Path, tmp_path: Path
) -> None:
    """Kills: a path that a shell takes apart; a command that does not run; one for a run that knows no text."""
    path = tmp_path / "it's my $run"
    shutil.copytree(trained, path)
    said = atlas("train", "--resume", "auto", "--out", path)
    assert said.code == 0, said.err
    (line,) = [line for line in said.out.splitlines() if line.startswith("sample from it with: ")]
    program, *arguments = shlex.split(line.partition(": ")[2])
    assert program == "atlas"
    assert atlas(*arguments, "--tokens", 1).code == 0
    assert shlex.split(quoted(Path("-x y"))) == ["./-x y"]

    start(micro_config(*RECALL, "train.max_steps=1", "optim.warmup_steps=1", "model.n_layers=1"), tmp_path / "recall")
    assert "sample from it" not in atlas("train", "--resume", "auto", "--out", tmp_path / "recall").out


class Input:
    """Standard input that holds some bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_the_prompt_comes_from_a_file_or_standard_input_as_it_is(
    atlas: Atlas, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a line break that is stripped; another default; a prompt that is printed and not read, or the reverse."""
    text = "To be, or\r\nnot é\n"
    given = atlas("generate", trained, "--prompt", text, "--tokens", 3)
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    from_file = atlas("generate", trained, "--prompt-file", tmp_path / "prompt.txt", "--tokens", 3)
    monkeypatch.setattr(sys, "stdin", Input(text.encode()))
    from_input = atlas("generate", trained, "--prompt", "-", "--tokens", 3)

    assert given.code == 0, given.err
    assert given.out.startswith(text)
    assert given == from_file == from_input
    assert given.out[len(text) :] != atlas("generate", trained, "--prompt", "To be", "--tokens", 3).out[len("To be") :]


def test_a_prompt_that_cannot_be_read_is_one_sentence(
    atlas: Atlas, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a device or pipe that is read; a file read to its end whatever its length; a traceback for bytes that are
    not UTF-8, in a file or an argument, for an empty file or for standard input that is closed."""
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "empty").write_bytes(b"")
    with (tmp_path / "endless").open("wb") as file:
        file.truncate(2**40)
    refused = {
        name: atlas("generate", trained, "--prompt-file", tmp_path / name)
        for name in ("latin", "empty", "endless", "missing")
    }
    refused["device"] = atlas("generate", trained, "--prompt-file", "/dev/zero")
    refused["both"] = atlas("generate", trained, "--prompt", "a", "--prompt-file", tmp_path / "latin")
    refused["argument"] = atlas("generate", trained, "--prompt", "caf\udce9")
    monkeypatch.setattr(sys, "stdin", None)
    refused["closed"] = atlas("generate", trained, "--prompt", "-")
    words = {
        "device": "/dev/zero: is no regular file",
        "latin": f"{tmp_path / 'latin'}: is not UTF-8 text (byte 3 cannot be decoded).",
        "empty": "the prompt is empty",
        "endless": f"is longer than {MOST_BYTES:,} bytes",
        "missing": f"{tmp_path / 'missing'}: No such file",
        "both": "--prompt and --prompt-file both name a prompt",
        "argument": "the text is not Unicode: character 3",
        "closed": "the prompt is empty",
    }
    for name, ended in refused.items():
        assert (ended.code, ended.out) == (2, ""), name
        (line,) = ended.err.splitlines()
        assert line.startswith("Error: ")
        assert words[name] in line


def test_a_terminal_is_shown_what_a_file_gets_as_it_is(
    atlas: Atlas, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: text that clears the screen or sets its title; text for a file that is changed."""
    options = ("--prompt", "a\x1b[2Jb\tc\n", "--tokens", 1, "--seed", 5)
    plain = atlas("generate", trained, *options).out
    monkeypatch.setattr("cli.generate.is_terminal", lambda: True)
    shown = atlas("generate", trained, *options).out
    assert plain.startswith("a\x1b[2Jb\tc\n")
    assert shown.startswith("a\\x1b[2Jb\tc\n")
    assert len(plain) > len("a\x1b[2Jb\tc\n")


def test_each_of_several_samples_is_what_it_is_alone_or_in_another_number(atlas: Atlas, trained: Path) -> None:
    """Kills: one stream for all; --samples that is not read; one sample under a heading."""
    options = ("--prompt", "HAM", "--tokens", 3, "--seed", 3)
    found = {number: atlas("generate", trained, *options, "--samples", number).out for number in (1, 2, 3)}
    parts = {number: text.split("--- sample ") for number, text in found.items()}

    assert found[1] == atlas("generate", trained, *options).out
    assert [len(part) for part in parts.values()] == [1, 3, 4]
    assert parts[3][1] == f"1 of 3\n{found[1]}"
    assert parts[2][2].removeprefix("2 of 2\n") == parts[3][2].removeprefix("2 of 3\n")
    assert len({part.partition("\n")[2] for part in parts[3]}) == 4


def test_a_sample_ends_with_its_document_unless_it_is_told_to_go_on(
    atlas: Atlas, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a separator that is read over; --past-end that is not read."""
    options = ("--prompt", "HAM", "--temperature", "0", "--tokens", 7)
    free = atlas("generate", trained, *options).out.removesuffix("\n")
    assert len(free.encode()) > 4
    monkeypatch.setattr(ByteTokenizer, "separator", free.encode()[4])
    ended = atlas("generate", trained, *options).out.removesuffix("\n")
    assert free.startswith(ended)
    assert len(ended.encode()) <= 5
    assert atlas("generate", trained, *options, "--past-end").out.removesuffix("\n") == free


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", 2**64), "--seed"),
        (("--seed", 10**400), "--seed"),
        (("--seed", -1), "--seed"),
        (("--temperature", "inf"), "the temperature is inf"),
        (("--temperature", "1e999"), "the temperature is inf"),
        (("--temperature", "nan"), "the temperature is nan"),
        (("--temperature", "-1"), "the temperature is -1.0"),
        (("--top-p", "0"), "top-p is 0.0"),
        (("--top-p", "nan"), "top-p is nan"),
        (("--top-p", "1.5"), "top-p is 1.5"),
        (("--top-k", "0"), "--top-k"),
        (("--samples", "0"), "--samples"),
    ],
)
def test_a_draw_that_makes_no_sense_is_refused(
    atlas: Atlas, trained: Path, options: tuple[object, ...], words: str
) -> None:
    """Kills: an OverflowError of the generator; uniform noise for an infinite temperature."""
    ended = atlas("generate", trained, *options)
    assert (ended.code, ended.out) == (2, "")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    assert words in line


def test_the_largest_seed_and_the_least_temperatures_are_taken(atlas: Atlas, trained: Path) -> None:
    """Kills: a temperature that no quotient can have, as a traceback; anything but the likeliest tokens for it."""
    options = ("--tokens", 4, "--seed", 2**64 - 1, "--temperature")
    greedy = atlas("generate", trained, *options, "0")
    assert greedy.code == 0, greedy.err
    assert atlas("generate", trained, *options, "1e-310") == greedy
    assert atlas("generate", trained, *options, "1e-320") == greedy


def test_an_output_that_nobody_reads_any_more_ends_as_the_shell_says(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: exit code 1, "a defect of this program", for `atlas generate | head -c 5`."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "argv", ["atlas", "generate", str(trained), "--tokens", "3"])
    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 141
