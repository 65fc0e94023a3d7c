"""Does an exercise of docs/runtime/how-a-thread-is-made.md: runs its command, with the change it asks for and without.

    python tools/exercise.py         which exercises there are
    python tools/exercise.py 2       does the second

Question, change and command are those of the document.  The change is made in a copy of the tree, which is compiled
there (ten seconds of processor time; no network) and removed at the end, so the checkout stays as it is.  The copy is
removed also when this program is interrupted or killed: a shell that waits for its end does that.

Exit status 0: done, whatever the changed runtime did.  1: the change doesn't fit the source, or isn't C that compiles.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from run_documents import ROOT, prepared

#: In the order of their numbers: those of the first document have the numbers of its sections.
DOCUMENTS = ("how-a-thread-is-made.md", "fork.md", "green.md")
PATIENCE = 60  # seconds for a command; the exercises that hang set an alarm of ten

#: What a copy is made of: the runtime with its C, and what commands name.
PARTS = ("lwp", "runtime", "examples", "lwp_runtime.py", "lwp_pytest.py", "setup.py")

#: Reads until the other end of its standard input is closed, however that comes.  Then it ends the other processes of
#: its group, which write to the copy, and removes the copy.
REMOVE = """trap '' TERM HUP; cat; kill -TERM 0; rm -rf "$0" || { sleep 1; rm -rf "$0"; }"""


class Failed(Exception):
    """The exercise couldn't be done."""


@dataclass(frozen=True)
class Exercise:
    title: str
    where: str  #: the document and its section
    question: str
    change: str  #: as the document has it, "--- FILE: function()" before the lines; empty: nothing is changed
    command: str


def exercises() -> list[Exercise]:
    found = []
    for document in DOCUMENTS:
        for section in re.split(r"(?m)^## ", (ROOT / "docs" / "runtime" / document).read_text()):
            title, _, text = section.partition("\n")
            text = text.partition("<summary>Answer")[0]
            before, _, exercise = text.partition("**Exercise.** ")
            if exercise:
                change = "".join(re.findall(r"```diff\n(.*?)```", exercise, re.DOTALL))
                command = re.findall(r"```sh\n(.*?)```", before + exercise, re.DOTALL)[-1]  # it may be the section's
                anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
                question = exercise.partition("\n\n")[0]
                found.append(Exercise(title, f"docs/runtime/{document}#{anchor}", question, change, command))
    return found


def body_of(function: str, text: str) -> tuple[int, int]:
    """Where a function of C or Python begins and ends in its file."""
    head = rf"^(?:def {function}\(|\S[^\n]*\b{function}\([^;]*?\n{{)"
    found = re.search(rf"{head}.*?\n(?:}}|\n\n)", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise Failed(f"there is no function {function}()")
    return found.span()


def changed(change: str, root: Path) -> dict[Path, str]:
    """The files' new texts, below `root`.  Lines of a change stand in this order, with others between them."""
    texts: dict[Path, str] = {}
    for name, function, lines in re.findall(
        r"^--- ([^:\n]+)(?:: (\w+)\(\))?\n(.*?)(?=^---|\Z)", change, re.MULTILINE | re.DOTALL
    ):
        path = root / name
        text = texts.get(path) or path.read_text()
        begin, end = body_of(function, text) if function else (0, len(text))
        body, at = text[begin:end].split("\n"), 0
        for line in lines.splitlines():
            if line.startswith("+"):
                body.insert(at, line[1:])
                at += 1
                continue
            try:
                at = body.index(line[1:], at)
            except ValueError:
                raise Failed(f"{name} has no such line there: {line[1:]}") from None
            if line.startswith("-"):
                del body[at]
            else:
                at += 1
        texts[path] = text[:begin] + "\n".join(body) + text[end:]
    return texts


@contextlib.contextmanager
def copy_of_the_tree() -> Iterator[tuple[Path, int]]:
    """A folder with the runtime in it, and the group for the processes that work there.  Both end with the block."""
    folder = Path(tempfile.mkdtemp(prefix="lwp-exercise-"))
    remover = subprocess.Popen(["sh", "-c", REMOVE, str(folder)], stdin=subprocess.PIPE, process_group=0)
    assert remover.stdin
    try:
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, folder)
        yield folder, remover.pid
    finally:
        remover.stdin.close()
        remover.wait()


def compile_core(folder: Path, group: int) -> None:
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        process_group=group,
    )
    if done.returncode:
        raise Failed(f"it doesn't compile:\n{done.stdout}{done.stderr}")
    print(f"\ncompiled in {time.monotonic() - begin:.0f} s")


def run(command: str, tree: Path, group: int | None) -> None:
    """Shows what the document's command prints with the runtime of this tree."""
    bash, environment = prepared(command, tree)
    with subprocess.Popen(
        bash,
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=group,
    ) as process:
        try:
            output = process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = f"(nothing more in {PATIENCE} s)\n"
    print(textwrap.indent(output, "    ") or "    (nothing)\n", end="")
    if process.returncode:
        print(f"    (exit status {process.returncode})")


def do(exercise: Exercise) -> None:
    print(f"{exercise.title}\n\n{exercise.question}\n\n{textwrap.indent(exercise.command.strip(), '    $ ')}")
    if not exercise.change:
        print("\nIt prints")
        run(exercise.command, ROOT, None)
    else:
        texts = changed(exercise.change, ROOT)
        with copy_of_the_tree() as (folder, group):
            print("\nAs the runtime is, it prints", flush=True)
            run(exercise.command, ROOT, group)
            print(f"\nThe change, in a copy:\n{textwrap.indent(exercise.change.strip(), '    ')}", flush=True)
            for path, text in texts.items():
                (folder / path.relative_to(ROOT)).write_text(text)
            if any(path.suffix == ".c" for path in texts):
                compile_core(folder, group)
            print("\nWith the change it prints", flush=True)
            run(exercise.command, folder, group)
    print(f"\nThe answer: {exercise.where}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Does an exercise of docs/runtime/how-a-thread-is-made.md.")
    parser.add_argument("number", nargs="?", type=int, help="which; without it they are listed")
    number = parser.parse_args().number
    found = exercises()
    if number is None:
        for n, exercise in enumerate(found, 1):
            print(f"{n:2}  {exercise.title}{'' if exercise.change else '  (changes nothing)'}")
        return 0
    if not 1 <= number <= len(found):
        parser.error(f"there are exercises 1 to {len(found)}")
    for number_of_signal in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number_of_signal, lambda number, frame: sys.exit(128 + number))
    try:
        do(found[number - 1])
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
