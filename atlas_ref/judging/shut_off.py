"""The process that runs one program which a model wrote, after it has taken from itself what a program could harm with.

Started by `judging.programs` as a script of its own, in an empty folder, with a job on standard input; it says on
standard output the word of the job when the program and all its checks have ended without an error, or why it could not
shut itself off. It imports the standard library alone, and nothing after it is shut off: what a program may import is
in MODULES.

    always      seconds of the processor, memory, no process or thread besides, not a byte into any file, no core dump,
                standard streams that lead nowhere, as root the user `nobody`
    isolated    also: namespaces of its own (user, network, processes, mounts, host name, shared memory), the empty
                folder as the whole file system, no capability, and none to be had
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

MODULES = (
    *("array", "bisect", "calendar", "cmath", "collections", "collections.abc", "copy", "datetime", "decimal", "enum"),
    *("fractions", "functools", "heapq", "itertools", "json", "math", "operator", "queue", "random", "re"),
    *("statistics", "string", "struct", "sys", "textwrap", "time", "typing", "unicodedata"),
)
"""What a program may import, beside what these import: there is no file to read another one from."""
NOBODY = 65534
NEW = 0x10000000 | 0x40000000 | 0x20000000 | 0x00020000 | 0x04000000 | 0x08000000
"""CLONE_NEWUSER, NEWNET, NEWPID, NEWNS, NEWUTS, NEWIPC of <linux/sched.h>."""
PARENT_DEATH, NO_NEW_PRIVILEGES, CAPABILITIES = 1, 38, 0x20080522
"""PR_SET_PDEATHSIG and PR_SET_NO_NEW_PRIVS of <linux/prctl.h>, _LINUX_CAPABILITY_VERSION_3."""
VERDICT, NOTHING = 3, -1
FILES = 8
"""Descriptors that a program may have open."""


def main() -> NoReturn:
    """Read the job, shut off, run, and say the word."""
    job = json.loads(sys.stdin.buffer.read())
    for name in MODULES:
        importlib.import_module(name)
    try:
        lead_streams_nowhere()
        if os.geteuid() == 0:
            become_nobody()
        if job["isolated"]:
            leave_everything()
        take_limits(job["seconds"], job["memory"])
        if job["isolated"]:
            drop_capabilities()
    except (OSError, ValueError, AttributeError) as error:
        os.write(VERDICT, f"{cannot(job['word'])}{error}".encode())
        os._exit(3)
    run(job["program"], job["checks"])
    os.write(VERDICT, job["word"].encode())
    os._exit(0)


def cannot(word: str) -> str:
    """Return what an answer begins with that is no verdict; no program could say it."""
    return f"{word} not: "


def run(program: str, checks: list[str]) -> None:
    """Run a program and then its checks in one namespace; leave with 1 at whatever any of them raises."""
    names: dict[str, Any] = {"__name__": "program"}
    try:
        for text in (program, *checks):
            exec(compile(text, "program", "exec"), names)
    except BaseException:
        os._exit(1)


def lead_streams_nowhere() -> None:
    """Keep standard output for the verdict under another number, and close all else."""
    os.dup2(1, VERDICT)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.closerange(VERDICT + 1, max(nowhere + 1, 256))


def become_nobody() -> None:
    """Give up being root, for whom limits on processes do not hold."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def leave_everything() -> None:
    """Go on as the only process in namespaces of its own, with the working folder as all files; the first one waits."""
    system = ctypes.CDLL(None, use_errno=True)
    require(system.unshare(NEW), "unshare")
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 127)
    require(system.prctl(PARENT_DEATH, signal.SIGKILL, 0, 0, 0), "prctl")
    os.chroot(".")
    os.chdir("/")


def take_limits(seconds: int, memory: int) -> None:
    """Bound what the process may use; none of it can be had back."""
    bounds = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in bounds.items():
        resource.setrlimit(kind, (most, most))


def drop_capabilities() -> None:
    """Give up what a new user namespace gives, such as leaving the folder again."""
    system = ctypes.CDLL(None, use_errno=True)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    require(system.capset(header, none), "capset")
    require(system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")


def require(result: int, name: str) -> None:
    """Raise OSError, with the name of the call, where the system said no."""
    if result == NOTHING:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
