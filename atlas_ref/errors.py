"""The one error that a user of the command line is meant to read, and what others are for one."""

import re


class UserError(ValueError):
    """Bad input: one sentence that says what is wrong, where, and what would be valid."""


REFERENCE = ("torch", "jaxtyping")
"""What the extra `reference` of this package installs: judging other implementations needs neither."""


def without_reference(error: ImportError) -> str | None:
    """Return the sentence for an import that fails because the reference is not installed, None for any other."""
    if error.name is None or error.name.partition(".")[0] not in REFERENCE:
        return None
    return (
        f"the reference implementation needs {error.name}, which is not installed; install this package with its extra "
        "`reference` (in a checkout: pip install '.[reference]')"
    )


def without_memory(error: Exception) -> str | None:
    """Return the sentence for an error that says that memory is short, None for any other.

    On a GPU torch raises an error of its own, or words of the driver where others have filled it before torch begins;
    on a CPU a plain RuntimeError that its allocator words.
    """
    said = str(error)
    of_gpu = type(error).__name__ == "OutOfMemoryError" or "CUDA error: out of memory" in said
    if not (of_gpu or isinstance(error, MemoryError) or "can't allocate memory" in said):
        return None
    where = "the GPU" if of_gpu else "this machine"
    found = re.search(r"allocate ([\d.,]+ ?\w+)", said)
    asked = f" ({found[1]} more were asked for)" if found else ""
    return (
        f"the memory of {where} is not enough{asked}; less is needed by more parts of a batch (train.micro_batches), "
        "fewer rows (train.batch_size), shorter ones (data.sequence_length) and smaller models; what was saved stays"
    )
