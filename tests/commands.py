"""Python and the package's command, in processes of their own that find what the tests find."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from this_machine import ROOT


def python_path(*folders: object) -> str:
    """PYTHONPATH with which a program finds what this process finds now, and then what is in these folders."""
    return os.pathsep.join(filter(None, map(str, [ROOT, *sys.path, *folders])))


def environment(**variables: str) -> dict[str, str]:
    """This process's, with its path, and these variables."""
    return {**os.environ, "PYTHONPATH": python_path(), **variables}


def python(
    *arguments: object,
    cwd: Path | None = None,
    timeout: float = 60,
    status: int | None = 0,
    stdout: IO[str] | int = subprocess.PIPE,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """The interpreter of the tests, with these arguments and, in its environment, these variables.

    Another exit status than `status` fails the test; None: any is right.
    """
    command, env = [sys.executable, *map(str, arguments)], environment(**variables)
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=timeout, check=False
    )
    assert status in (None, done.returncode), f"{done.stdout}{done.stderr}"
    return done


def lwp(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """`lwp` with these arguments, as python()."""
    return python("-m", "runtime", *arguments, **options)


def on_terminal(*arguments: object, columns: int = 80, stdout: int | None = None, **options: Any) -> tuple[str, int]:
    """What `lwp` writes to a terminal that is so wide, and its exit status.

    stdout: where standard output goes, if not to the terminal.
    """
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=terminal if stdout is None else stdout,
        stderr=terminal,
        **options,
    )
    os.close(terminal)
    said = b""
    with process, suppress(OSError):  # EIO: nobody has the terminal open any more
        while more := os.read(ours, 65536):
            said += more
    os.close(ours)
    return said.decode(), process.returncode


def completed(*words: str, cwd: Path | None = None, **variables: str) -> list[str]:
    """What the shell is offered for the last of the words behind `lwp`."""
    program = "import sys; sys.argv[0] = 'lwp'; from lwp.command import main; sys.exit(main())"
    asked = {"COMP_WORDS": " ".join(["lwp", *words]), "COMP_CWORD": str(len(words))}
    done = python("-c", program, cwd=cwd, status=None, _LWP_COMPLETE="bash_complete", **asked, **variables)
    assert done.stderr == ""
    return done.stdout.split()


def watched(seconds: float, status: int) -> str:
    """Begins the first line of a program that stands still: the report of a watchdog ends it with that status."""
    return f"import runtime; runtime.watchdog({seconds}, exit={status}); "


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The only line that a command has written, which says on standard error why it was not begun."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def interrupted(stream: str, begins: str, *arguments: object, **variables: str) -> list[str]:
    """The lines that `python -m` with these arguments prints; once one of this stream begins so, Ctrl-C comes."""
    command = [sys.executable, "-m", *map(str, arguments)]
    with subprocess.Popen(
        command, env=environment(**variables), stdout=-1, stderr=-1, text=True, start_new_session=True
    ) as process:
        lines = []
        for line in iter(getattr(process, stream).readline, ""):
            lines.append(line.rstrip("\n"))
            if line.startswith(begins):
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        shown, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    return [*lines, *shown.splitlines()]


@contextmanager
def ready(folder: Path, program: str, *command: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A program with pipes that has printed its first line, "ready"; at the end it is killed.

    command: of the interpreter, in the folder, where the program is program.py.
    """
    (folder / "program.py").write_text(program)
    words, env = [sys.executable, *command], environment(**variables)
    with subprocess.Popen(
        words, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def told(folder: Path, program: str, last: str, *command: str, **variables: str) -> str:
    """What a program says on standard error up to the first line with the text `last`; then it is killed.

    command: of the interpreter, which runs the program as the file program.py in the folder.
    """
    (folder / "program.py").write_text(program)
    said = []
    words, env = [sys.executable, *command, "program.py"], environment(PYTHONUNBUFFERED="1", **variables)
    with subprocess.Popen(
        words, cwd=folder, env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            said.append(line)
            if last in line:
                break
        process.kill()
    assert last in said[-1], "".join(said)
    return "".join(said)
