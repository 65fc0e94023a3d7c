"""System calls that fail from now on: seccomp(2)."""

from __future__ import annotations

import ctypes
import struct


def filter_program(*steps: tuple[int, int, int, int]) -> ctypes.Array[ctypes.c_char]:
    """A struct sock_fprog, and the steps of BPF that it points at behind it: for seccomp(2)."""
    text = b"".join(struct.pack("HBBI", *step) for step in steps)
    program = ctypes.create_string_buffer(16 + len(text))
    struct.pack_into(f"HxxxxxxP{len(text)}s", program, 0, len(steps), ctypes.addressof(program) + 16, text)
    return program


def refuse(system_call: int, error: int) -> bool:
    """From now on the system call fails with the error in the calling thread and those that it starts: seccomp(2).

    Whether there are filters.
    """
    # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET; SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, system_call), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]
    program = filter_program(*steps)
    prctl = ctypes.CDLL(None).prctl
    prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    return bool(prctl(22, 2, program) == 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
