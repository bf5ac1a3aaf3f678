"""Programs that break the protocol in every way: the case in hand is an error that says why, and the next one starts.

Every row would fail if the client trusted the program there: each is a fault put into a sound program.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from spec_tests.contract.driver import assert_close
from spec_tests.contract.outcome import FormError, PortError
from spec_tests.port import Numerics, UnsupportedError
from spec_tests.process.scripts import BAD, SHORT, Opened, X, asked, interrupt, misbehaving, starts

FORM, PORT = FormError, PortError
OUTPUT = "done(case)"


class Row(NamedTuple):
    """Statements of a bad case, the error they must become, words of it, and the seconds the case has."""

    statements: str
    error: type[AssertionError]
    words: str
    timeout: float = 10.0


LOST = {
    "crash": Row("os._exit(7)", PORT, "ended with exit code 7"),
    "clean end": Row("sys.exit(0)", PORT, "ended with exit code 0"),
    "killed": Row("os.kill(os.getpid(), 9)", PORT, "killed by signal 9"),
    "last words": Row("sys.exit('out of registers')", PORT, "exit code 1\n    out of registers"),
    "hang": Row("block()", PORT, "no answer within 0.3 s; is standard output flushed", SHORT),
    "no end of line": Row("put('{\"id\"'); block()", PORT, "it printed .* and no end of line.*flushed", SHORT),
    "not flushed": Row("compute(case); sys.stdout.write('x'); block()", PORT, "is standard output flushed", SHORT),
    "garbage": Row("put('hello world\\n')", PORT, "protocol lines only.*'hello world'"),
    "bytes that are no text": Row("sys.stdout.buffer.write(b'\\xff\\xfe\\n'); put('')", PORT, "protocol lines only"),
    "stray line before": Row("put('step 1\\n'); compute(case); done(case)", PORT, "protocol lines only.*'step 1'"),
    "stray line after": Row(
        "compute(case); put(json.dumps({'id': case['id'], 'status': 'ok'}) + '\\nstep 1\\n')", PORT, "'step 1"
    ),
    "a number": Row("put('42\\n')", PORT, "protocol lines only.*'42'"),
    "endless line": Row("while True: put('x' * 65536)", PORT, "protocol lines only.*'xxxxx"),
    "closed output": Row("os.close(1); block()", PORT, "closed its standard input or output"),
    "another id": Row("compute(case); say({'id': '77', 'status': 'ok'})", PORT, "answers case '77'"),
    "id as a number": Row("say({'id': int(case['id']), 'status': 'ok'})", PORT, "id: .*string"),
    "unknown field": Row("say({'id': case['id'], 'status': 'ok', 'time': 1})", PORT, "time: Extra"),
    "unknown status": Row("say({'id': case['id'], 'status': 'fine'})", PORT, "tag 'fine'"),
    "no reason": Row("say({'id': case['id'], 'status': 'unsupported', 'capability': 'x'})", PORT, "reason: .*required"),
}
"""What leaves the state of the program in doubt: it is started again."""

HEADER = "write(case['out'], {'y': {'dtype': DTYPE, 'shape': SHAPE, 'data_offsets': [0, END]}}, bytes(SIZE))"


def _file(dtype: str = "F32", shape: str = "[3, 4]", end: int = 48, size: int = 48) -> str:
    text = HEADER.replace("DTYPE", repr(dtype)).replace("SHAPE", shape).replace("END", str(end))
    return f"{text.replace('SIZE', str(size))}; done(case)"


MISSHAPEN = {
    "error": Row("say({'id': case['id'], 'status': 'error', 'message': 'no memory'})", PORT, "an error: no memory"),
    "wrong length": Row(_file(shape="[3, 5]", end=60, size=60), FORM, "has 5 along dim, not 4"),
    "wrong rank": Row(_file(shape="[12]"), FORM, "shape"),
    "wrong type": Row(_file("I64", end=96, size=96), FORM, "'y' is int64, expected float32"),
    "type without numpy": Row(_file("BF16", end=24, size=24), FORM, "type 'BF16'; valid are F64, F32 and I64"),
    "unknown type": Row(_file("Q7"), FORM, "not valid safetensors.*Q7"),
    "truncated": Row(_file(size=20), FORM, "not valid safetensors"),
    "too long": Row(_file(size=60), FORM, "not valid safetensors"),
    "size that overflows": Row(_file(shape="[2**40, 2**40]"), FORM, "not valid safetensors"),
    "negative length": Row(_file(shape="[-3, 4]"), FORM, "not valid safetensors"),
    "empty but immense": Row(_file(shape="[0, 2**62, 2**62]", end=0, size=0), FORM, "not valid safetensors"),
    "seventy axes": Row(_file("F64", shape="[1] * 70", end=8, size=8), FORM, "not valid safetensors"),
    "no arrays": Row("write(case['out'], {}); done(case)", FORM, r"returned \[\], expected \['y'\]"),
    "overlapping arrays": Row(
        "tensor = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}\n"
        "write(case['out'], {'y': tensor, 'z': {**tensor, 'data_offsets': [4, 12]}}, bytes(12)); done(case)",
        FORM,
        "not valid safetensors",
    ),
    "header of 2^60 bytes": Row(
        "open(case['out'], 'wb').write(struct.pack('<Q', 2**60) + b'{}'); done(case)", FORM, "not valid safetensors"
    ),
    "header of nested lists": Row(
        "open(case['out'], 'wb').write(struct.pack('<Q', 90000) + b'[' * 90000); done(case)", FORM, "not valid safe"
    ),
    "empty file": Row("open(case['out'], 'wb').close(); done(case)", FORM, "not valid safetensors"),
    "no file": Row(OUTPUT, FORM, "output file was not written"),
    "huge file": Row(
        "open(case['out'], 'wb').close(); os.truncate(case['out'], 2**40); done(case)",
        FORM,
        "has 1,099,511,627,776 bytes; this case allows",
    ),
    "a directory": Row("os.mkdir(case['out']); done(case)", FORM, "not a regular file"),
    "a named pipe": Row("os.mkfifo(case['out']); done(case)", FORM, "not a regular file"),
    "a link to endless bytes": Row("os.symlink('/dev/zero', case['out']); done(case)", FORM, "cannot be opened"),
}
"""What is wrong in the answer alone: the program goes on."""


@pytest.mark.parametrize("name", LOST)
def test_a_program_in_doubt_costs_one_case_and_is_started_again(name: str, opened: Opened, tmp_path: Path) -> None:
    row = LOST[name]
    port = opened(misbehaving(row.statements), timeout=row.timeout)
    asked(port)
    with pytest.raises(row.error, match=f"(?s)^l2_normalize: .*{row.words}"):
        asked(port, BAD)
    assert (asked(port)["y"] == X.astype(np.float32)).all()
    assert starts(tmp_path) == 2


@pytest.mark.parametrize("name", MISSHAPEN)
def test_a_misshapen_answer_costs_one_case_and_the_program_goes_on(name: str, opened: Opened, tmp_path: Path) -> None:
    row = MISSHAPEN[name]
    port = opened(misbehaving(row.statements))
    with interrupt(after=20.0), pytest.raises(row.error, match=row.words):
        asked(port, BAD)
    assert (asked(port)["y"] == X.astype(np.float32)).all()
    assert starts(tmp_path) == 1


def test_nan_comes_back_as_nan_and_is_the_comparisons_affair(opened: Opened) -> None:
    port = opened(misbehaving(_file().replace("bytes(48)", "b'\\x00\\x00\\xc0\\x7f' * 12")))
    answer = asked(port, BAD)["y"]
    assert np.isnan(answer).all()
    with pytest.raises(AssertionError, match="not finite"):
        assert_close(answer, X, 1.0, "y")


def test_three_crashes_in_a_row_end_the_patience_and_fewer_do_not(opened: Opened, tmp_path: Path) -> None:
    port = opened(misbehaving("os._exit(7)"))
    for eps in (BAD, BAD, 0.5, BAD, BAD, 0.5, BAD, BAD, BAD):
        if eps == BAD:
            with pytest.raises(PortError, match="exit code 7"):
                asked(port, eps)
        else:
            asked(port, eps)
    started = starts(tmp_path)
    with pytest.raises(PortError, match=r"stopped after three crashes in a row.*exit code 7"):
        asked(port)
    assert starts(tmp_path) == started == 7


HELLO = {
    "ends at once": ("sys.exit('no licence')", "exit code 1\n    no licence"),
    "slow": ("block()", "no answer within 0.3 s"),
    "a banner": ("put('Port 1.0, all rights reserved\\n')", "protocol lines only.*Port 1.0"),
    "another protocol": ("PROTOCOL = 2", "speaks protocol 2, this suite speaks 1"),
    "unknown field": ("FIELD = {'colour': 'red'}", "declaration.colour: Extra"),
    "a run's answer": ("declare = lambda: say({'id': '1', 'status': 'ok'})", "protocol: Field required"),
}


@pytest.mark.parametrize("name", HELLO)
def test_a_program_that_does_not_introduce_itself_is_refused_in_one_sentence(name: str, opened: Opened) -> None:
    changes, words = HELLO[name]
    port = opened(changes, hello_timeout=SHORT if name == "slow" else 10.0)
    with pytest.raises(PortError, match=f"(?s)^hello: .*{words}"):
        port.declare()


def test_a_start_that_fails_is_tried_three_times_and_no_more(opened: Opened, tmp_path: Path) -> None:
    port = opened("sys.exit('no licence')")
    for _ in range(3):
        with pytest.raises(PortError, match="no licence"):
            asked(port)
    with pytest.raises(PortError, match="three crashes in a row"):
        asked(port)
    assert starts(tmp_path) == 3


def test_a_program_that_declares_something_else_when_started_again_is_refused(opened: Opened) -> None:
    port = opened("SPEC = f'0.{STARTED}'\n" + misbehaving("os._exit(7)"))
    assert port.declare().spec_version == "0.1"
    with pytest.raises(PortError, match="exit code 7"):
        asked(port, BAD)
    with pytest.raises(PortError, match="declares something else"):
        asked(port)


def test_unsupported_carries_reason_and_capability(opened: Opened) -> None:
    with pytest.raises(UnsupportedError, match="no such operation") as caught:
        opened().run("stablemax", {}, {"x": X}, numerics=Numerics.F64, taps=frozenset())
    assert caught.value.capability == "stablemax"


def test_standard_error_is_that_of_the_case(opened: Opened) -> None:
    sees = "print('{}', file=sys.stderr, flush=True)\n"
    error = "say({'id': case['id'], 'status': 'error', 'message': 'see below'})"
    port = opened(sees.format("from the start") + misbehaving(sees.format("from the case") + error))
    asked(port)
    for _ in range(2):
        with pytest.raises(PortError) as caught:
            asked(port, BAD)
        told, _, shapes = str(caught.value).partition("\n  with ")
        assert told.endswith("see below\n    from the case")
        assert shapes == "x [3, 4]"


def test_a_flood_of_standard_error_neither_blocks_nor_fills_the_message(opened: Opened) -> None:
    flood = "sys.stderr.write('x' * 3_000_000 + '\\nthe last line' * 5); sys.stderr.flush()\nos._exit(7)"
    with pytest.raises(PortError) as caught:
        asked(opened(misbehaving(flood)), BAD)
    assert str(caught.value).count("\n    the last line") == 5
    assert len(str(caught.value)) < 20_000


def test_a_program_that_never_reads_is_not_waited_for_without_end(opened: Opened) -> None:
    port = opened("declare()\nwhile True: os.read(os.pipe()[0], 1)", timeout=SHORT)
    port.declare()
    inputs = {"x": X}
    with pytest.raises(PortError, match="does not read its standard input"):
        port.run("l2_normalize", {"eps": "x" * 300_000}, inputs, numerics=Numerics.F64, taps=frozenset())
