"""The process in which a reply's Python runs; started as a script of its own by `sandbox`, and imported by nobody.

It asks the operating system for its walls first, and reads what it is to run only then: no file can be opened, no
process or thread started, no address reached, and memory and time are bounded. The walls do not depend on what the
Python code can name: past them there are only the system calls of `ALLOWED`. Any other ends the process at once.

The job comes on standard input and the values go to standard output, both as JSON; who started it bounds how many.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import sys
from typing import Any

MEMORY = 2**29  # bytes of address space
ALLOWED = {  # what an interpreter needs that has loaded everything: its pipes, memory, locks, the clock, the end
    "x86_64": {
        "read": 0,
        "write": 1,
        "mmap": 9,
        "mprotect": 10,
        "munmap": 11,
        "brk": 12,
        "rt_sigreturn": 15,
        "mremap": 25,
        "madvise": 28,
        "exit": 60,
        "futex": 202,
        "restart_syscall": 219,
        "clock_gettime": 228,
        "exit_group": 231,
        "getrandom": 318,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "exit": 93,
        "exit_group": 94,
        "futex": 98,
        "clock_gettime": 113,
        "restart_syscall": 128,
        "rt_sigreturn": 139,
        "brk": 214,
        "munmap": 215,
        "mremap": 216,
        "mmap": 222,
        "mprotect": 226,
        "madvise": 233,
        "getrandom": 278,
    },
}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_… of linux/audit.h

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4  # bytes into struct seccomp_data
SIGKILL = 9


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def program(machine: str) -> bytes:
    """The filter: the machine's own calling convention and an allowed call, or the end of the process."""
    calls = sorted(ALLOWED[machine].values())
    code = [
        (LOAD_WORD, 0, 0, ARCHITECTURE_AT),
        (JUMP_IF_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD_WORD, 0, 0, NUMBER_AT),
        *((JUMP_IF_EQUAL, len(calls) - at, 0, call) for at, call in enumerate(calls)),
        (RETURN, 0, 0, KILL_PROCESS),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in code)


def wall(seconds: int) -> None:
    """Give up everything that running a function does not need. Raises OSError where the system grants no filter."""
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    code = program(os.uname().machine)
    filtering = Program(len(code) // 8, code)
    os.closerange(3, 1 << 16)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 4
    asked = [(PR_SET_PDEATHSIG, SIGKILL, None), (PR_SET_NO_NEW_PRIVS, 1, None)]
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))
    for what, first, second in (*asked, (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(filtering))):
        if prctl(what, first, second, None, None) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def job() -> dict[str, Any]:
    """What stands on standard input."""
    pieces = []
    while piece := os.read(0, 1 << 16):
        pieces.append(piece)
    return dict(json.loads(b"".join(pieces)))


def main() -> int:
    """Walls, then the job. Status 0 where there are values, 1 where there are none."""
    try:
        wall(int(sys.argv[1]))
        named = vars(sys.modules["builtins"])
        given = job()
        scope: dict[str, Any] = {"__builtins__": {name: named[name] for name in given["builtins"]}}
        exec(given["source"], scope)
        said = json.dumps([scope[given["name"]](*call) for call in given["calls"]]).encode()
        while said:
            said = said[os.write(1, said) :]
    except BaseException:  # whatever the reply raises, or asks for; a traceback would open files
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())
