"""What README.md, docs/ and the books say is so: fresh outputs, flags explained, commands that exist."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import griffe
import pytest
from conftest import FREE_THREADED, ROOT, TREE, environment, python

import runtime
from lwp.command import _lwp
from runtime import THREAD_FLAGS

BOOKS = [TREE / "course", TREE / "found"]  # not in the sdist
DOCUMENTS = [
    *(TREE / "README.md", TREE / "CONTRIBUTING.md"),
    *sorted(path for folder in [TREE / "docs", *BOOKS] for path in folder.rglob("*.md")),
]
STORY = TREE / "docs" / "runtime" / "how-a-thread-is-made.md"

in_each = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TREE)))


def tool(name: str, *arguments: str | Path, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    return python(TREE / "tools" / name, *arguments, timeout=110, status=status, **variables)


# ---- outputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if re.search("<!-- (shown below|run)", path.read_text())],
    ids=lambda path: path.name,
)
def test_outputs_match_the_commands_above_them(document: Path) -> None:
    text = document.read_text()
    for program in ("strace", "gdb", "objdump", "cc"):
        traces = program == "strace" and "\npython tools/system_calls.py" in text
        if (traces or f"\n{program} " in text) and not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    if "\ngdb " in text and ROOT.name == "site-packages":
        pytest.skip("a wheel has no debug information")
    if document.name == "performance.md" and FREE_THREADED:
        pytest.skip("without a GIL a start and a join make other system calls than those it shows")
    tool("run_documents.py", "--check", document)


EXAMPLE = """\
<!-- machine -->
nowhere

<!-- shown below -->
```sh
python -c 'import os; print("seen", os.getpid(), "for 3 µs")' | tr a-z A-Z
```

<!-- shown below -->
```sh
python -c 'import os; print("seen", os.getpid(), "for 3 µs")' | sed s/seen/saw/
```
"""


@pytest.mark.parametrize(
    ("old", "new", "status", "says"),
    [
        ("$", "", 0, ""),
        (r"saw \d+ for 3 µs", "saw 1 for 12 ms", 0, ""),
        ("saw (?=\\d)", "saw dcac ", 0, ""),
        ("\nsaw ", "\nhas seen ", 1, "new: ['saw'], gone: ['has', 'seen']"),
        (r"(?s)glibc [\d.]+(.*)\nsaw .*", r"glibc 2.1\1\nsomething else\n```\n", 0, ""),
        (r"(?s)<!-- machine -->\n[^\n]*\n(.*)\nsaw .*", r"\1\nsomething else\n```\n", 1, "gone: ['else', 'something']"),
        ("import os;", "import nonsense;", 1, "No module named 'nonsense'"),
        ("shown below -->", "shown below, exit status 3 -->", 1, "exit status 0"),
    ],
    ids=["fresh", "numbers", "address", "word", "another system", "no system", "fails", "does not fail"],
)
def test_check_finds_outputs_that_are_out_of_date(old: str, new: str, status: int, says: str, tmp_path: Path) -> None:
    (example := tmp_path / "example.md").write_text(EXAMPLE)
    tool("run_documents.py", example)
    text = re.sub(old, new, example.read_text())
    example.write_text(text)
    done = tool("run_documents.py", "--check", example, status=status)
    assert says in done.stdout + done.stderr
    assert example.read_text() == text


SHORT = """\
<!-- shown below -->
```sh
printf '%s\\n' one two 'three 3' four five
```

```text
one
...
three 2
...
```
"""


def test_an_output_that_a_document_shortens_stays_so_and_is_renewed(tmp_path: Path) -> None:
    (example := tmp_path / "example.md").write_text(SHORT)
    tool("run_documents.py", "--check", example)
    tool("run_documents.py", example)
    assert example.read_text() == SHORT.replace("three 2", "three 3")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("three 2", "third", "  third\n"), ("one\n...", "one", "  one\n  three 2\n"), ("2\n...", "2", "  three 2\n")],
    ids=["a line is not printed", "one is left out", "more is printed"],
)
def test_what_a_shortened_output_hides_is_said_by_dots(old: str, new: str, says: str, tmp_path: Path) -> None:
    (example := tmp_path / "example.md").write_text(SHORT.replace(old, new))
    assert f"line below line:\n{says}" in tool("run_documents.py", "--check", example, status=1).stderr


def test_of_a_command_that_installs_only_the_last_is_run(tmp_path: Path) -> None:
    command = "<!-- run, exit status 3 -->\n```sh\nfalse &&\n  .venv/bin/python -c 'print(7); exit(3)'\n```\n"
    (example := tmp_path / "example.md").write_text(command)
    tool("run_documents.py", example)
    assert example.read_text() == command + "\n```text\n7\n```\n"


def test_a_command_in_a_readers_folder_finds_its_file_and_what_others_have_left(tmp_path: Path) -> None:
    mark = "<!-- shown below, in a folder with examples/transfer.py -->\n```sh\n{}\n```\n"
    (example := tmp_path / "example.md").write_text(mark.format("ls; pwd; touch made") + mark.format("ls ; pwd"))
    tool("run_documents.py", example)
    first, second = re.findall(r"```text\n(.*?)```", example.read_text(), re.DOTALL)
    assert first.splitlines()[:-1] == ["transfer.py"]
    assert second.splitlines()[:-1] == ["made", "transfer.py"]
    (folder,) = {text.splitlines()[-1] for text in (first, second)}
    assert not Path(folder).exists()


def test_the_start_page_is_read_in_a_minute_and_cuts_no_output_by_a_filter() -> None:
    text = (TREE / "README.md").read_text()
    assert len(text.splitlines()) <= 110
    assert not [block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if re.search(r"[^|]\|[^|]", block)]


def test_the_start_page_leads_to_every_page() -> None:
    linked = {TREE / link for link in re.findall(r"\]\(([\w/-]+\.md)", (TREE / "README.md").read_text())}
    pages = {path for folder in ("docs", "docs/runtime", "docs/lwp") for path in (TREE / folder).glob("*.md")}
    assert pages | {book / "README.md" for book in BOOKS} <= linked


# ---- figures ---------------------------------------------------------------------------------------------------------

FIGURES = TREE / "docs" / "figures"


@pytest.mark.slow
def test_figures_are_what_the_tool_draws_and_stand_in_documents(tmp_path: Path) -> None:
    tool("figures.py", "--check")
    text = "".join(document.read_text() for document in DOCUMENTS)
    assert {path.name for path in FIGURES.iterdir()} == set(re.findall(r"!\[[^\]]+\]\([./]*figures/(\S+)\)", text))


@pytest.mark.slow
def test_check_finds_figures_that_are_out_of_date(tmp_path: Path) -> None:
    tool("figures.py", "--folder", tmp_path)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn.keys() == {path.name for path in FIGURES.iterdir()}

    def says(name: str, old: str, new: str, status: int) -> str:
        for other, text in drawn.items():
            (tmp_path / other).write_text(re.sub(old, new, text, count=1) if other == name else text)
        assert (tmp_path / name).read_text() != drawn[name]
        return tool("figures.py", "--check", "--folder", tmp_path, status=status).stdout

    assert says("memory.svg", "0x[0-9a-f]+", "0x7f00beef0000", 0) == ""
    assert "gone: [('text', '', 'accident and the')]" in says("life.svg", "__ctype_init..<", "the accident and<", 1)
    assert "'arrow'" in says("switch.svg", '<path [^>]*class="arrow"/>', "", 1)
    assert "'part mapped'" in says("dtv.svg", "part there", "part mapped", 1)
    assert says("switch.svg", r"(?s)glibc [\d.]+(.*)<path [^>]*/>", r"glibc 2.1\1", 0) == ""


# ---- the reference ---------------------------------------------------------------------------------------------------


def imported(name: str) -> Any:
    """A module of tools/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TREE / "tools")
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return imported("reference")


@pytest.fixture(scope="module")
def exercise() -> ModuleType:
    return imported("exercise")


def described(reference: ModuleType, folder: Path, packages: Iterable[str], modules: list[str]) -> dict[str, Any]:
    """What griffe finds by the public names of modules and by the names of their classes' members."""
    extensions = griffe.load_extensions(reference.Reference)
    loader = griffe.GriffeLoader(search_paths=[folder], extensions=extensions, allow_inspection=False)
    for package in packages:
        loader.load(package)
    loader.resolve_aliases(external=False)
    found: dict[str, Any] = {}
    for module in modules:
        found[module] = loader.modules_collection[module]
        for name in found[module].exports:
            found[f"{module}.{name}"] = thing = found[module][name]
            if thing.is_alias and not thing.resolved:
                continue  # threading's own
            members = thing.all_members if thing.is_class else {}
            found |= {f"{module}.{name}.{of}": member for of, member in members.items() if not of.startswith("_")}
    return {name: thing for name, thing in found.items() if not thing.is_alias or thing.resolved}


def unsaid(found: dict[str, Any]) -> set[str]:
    """The names that nothing is said about; a variable that a method makes may be the class's own."""

    def made_in_a_method(thing: Any) -> bool:
        return thing.is_attribute and any(
            one.lineno <= thing.lineno <= one.endlineno for one in getattr(thing.parent, "functions", {}).values()
        )

    return {name for name, thing in found.items() if not thing.docstring and not made_in_a_method(thing)}


def test_the_reference_is_read_from_the_sources_and_leaves_no_public_name_out(reference: ModuleType) -> None:
    found = described(reference, TREE, ["runtime", "lwp"], reference.modules())
    assert len(found) > 300
    assert not unsaid(found)
    for name, thing in found.items():  # and gives units
        text = thing.docstring.value if thing.docstring else ""
        arguments = {one.name for one in thing.parameters} if thing.is_function or thing.is_class else set()
        assert "timeout" not in arguments or "second" in text or "by its old name" in text, name
        assert "stack_size" not in arguments or "bytes" in text, name
    assert found["runtime.sync.LockType.acquire"].docstring.value.startswith("Takes the lock;")  # from the C
    assert found["runtime.Clone.VM"].docstring.value.startswith("one memory:")


def test_importing_the_package_gives_each_name_of_the_reference(reference: ModuleType) -> None:
    """And each module that the package has is in the reference, except the twins of threading and queue."""

    def in_runtime(names: list[str]) -> list[str]:
        return [re.sub(r"^lwp\.(study\.)?|^runtime\.", "", name) for name in names]

    modules = reference.modules()
    show = f"import importlib\nfor m in {modules}: print(*(f'{{m}}.{{n}}' for n in importlib.import_module(m).__all__))"
    names = [name for name in python("-c", show).stdout.split() if name.count(".") > 1 or name.startswith("runtime.")]
    assert len(names) > 100
    python("-c", f"import operator, runtime\nfor name in {in_runtime(names)}: operator.attrgetter(name)(runtime)")
    python("-c", f"import pkgutil\nfor name in {names}: pkgutil.resolve_name(name)")
    rooms = {name: getattr(runtime, name)._MODULES for name in ("observe", "tlsmap")}
    there = (runtime._MODULES | {"explore"}) - {"queue", "threading"}
    there |= {f"{room}.{name}" for room, names in rooms.items() for name in names}
    assert sorted(there) == sorted(in_runtime(modules[1:]))


def test_a_public_name_that_nothing_is_said_about_is_named(reference: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(
        '"""A module."""\nfrom dataclasses import dataclass\n__all__ = ["Thing", "function", "number"]\n'
        "def function(): pass\nnumber = 1\n"
        '@dataclass\nclass Thing:\n    """One."""\n    a: int  #: said\n    b: int\n    def method(self): pass\n'
    )
    found = described(reference, tmp_path, ["bare"], ["bare"])
    assert unsaid(found) == {"bare.Thing.b", "bare.Thing.method", "bare.function", "bare.number"}


# ---- what the text says ----------------------------------------------------------------------------------------------


def test_each_flag_of_a_thread_has_one_row() -> None:
    rows = re.findall(r"^(?:\| `)?(CLONE_\w+)(?:` \||  )", STORY.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(f"CLONE_{flag.name}" for flag in THREAD_FLAGS)


def test_the_picture_and_the_text_refer_to_lines_of_the_timeline() -> None:
    story = STORY.read_text()
    timeline = re.findall(r"```text\n(.*?)```", story, re.DOTALL)[0]
    lines = [int(number) for number in re.findall(r"^ +(\d+) +\d+\.\d  ", timeline, re.MULTILINE)]
    assert lines == list(range(1, len(lines) + 1))
    picture = (TREE / "docs" / "figures" / "life.svg").read_text()
    drawn = [int(number) for number in re.findall(r"<g data-step.*?<text[^>]*>(\d+)</text>", picture)]
    assert sorted(drawn) == lines
    text = story.replace(timeline, "")
    cited = re.findall(r"\blines? (\d+)(?:(?:,| and| to) (\d+))*", text)
    assert cited
    assert all(int(number) in lines for numbers in cited for number in numbers if number)


def test_changes_that_the_exercises_ask_for_fit(exercise: ModuleType) -> None:
    """As tools/exercise.py makes them, from the blocks of the document."""
    changes = [found.change for found in exercise.exercises() if found.change]
    assert len(changes) == STORY.read_text().count("```diff\n")
    for change in changes:
        for path, text in exercise.changed(change, TREE).items():
            assert text != path.read_text()


SOURCE = """\
int second(void);

int first(void)
{
    int n = 1;
    return n + second();
}

int second(void)
{
    int n = 1;
    return n;
}
"""


def test_a_change_is_made_in_the_function_that_it_names(exercise: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "some.c").write_text(SOURCE)
    change = "--- some.c: second()\n     int n = 1;\n+    n = 2;\n-    return n;\n+    return 3;\n"
    (text,) = exercise.changed(change, tmp_path).values()
    assert text == SOURCE.removesuffix("    return n;\n}\n") + "    n = 2;\n    return 3;\n}\n"


@pytest.mark.parametrize("line", ["-    return n;", "     return 3;"], ids=["elsewhere", "nowhere"])
def test_a_change_that_does_not_fit_is_refused(line: str, exercise: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "some.c").write_text(SOURCE)
    with pytest.raises(exercise.Failed, match="no such line"):
        exercise.changed(f"--- some.c: first()\n{line}\n", tmp_path)


def test_an_exercise_shows_what_its_change_does_and_leaves_nothing(tmp_path: Path) -> None:
    """The fifth, whose change is one of Python."""
    before, after = tool("exercise.py", "5", TMPDIR=str(tmp_path)).stdout.split("The change, in a copy:")
    assert ["0x" in before.splitlines()[-3], "0x" in after] == [True, False]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(ROOT.name == "site-packages", reason="nothing is compiled for a wheel")
def test_an_exercise_compiles_its_change(tmp_path: Path) -> None:
    """The second: without its guard a thread's stack may be left, and nobody notices."""
    before, after = tool("exercise.py", "2", TMPDIR=str(tmp_path)).stdout.split("The change, in a copy:")
    assert "exit status 139" in before
    assert "nobody has noticed" in after
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_exercise_that_is_ended_leaves_nothing(number: int, tmp_path: Path) -> None:
    """Also in the middle of compiling."""
    command = [sys.executable, TREE / "tools" / "exercise.py", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment(TMPDIR=str(tmp_path)), start_new_session=True
    ) as process:
        assert any(line.startswith("The change") for line in process.stdout)
        (copy,) = tmp_path.glob("lwp-exercise-*")
        process.send_signal(number)
        assert "With the change" not in process.stdout.read()  # until the last process has closed it
    assert not copy.exists()


def quoted_commands(text: str) -> list[list[str]]:
    """The words behind `lwp` or `python -m runtime`, wherever these stand first in code."""
    code = re.findall(r"`([^`\n]+)`", text)
    code += [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    found = []
    for line in code:
        if match := re.match(
            r"(?:\$ )?(?:lwp|\S*python3? -m runtime)(?: (.*))?$", re.sub(r" [|#&] ?.*| && .*", "", line)
        ):
            found.append(shlex.split(match[1] or ""))
    return found


def what_is_wrong(words: list[str]) -> str | None:
    """With a command line as documents quote it; capitals and brackets stand for something."""
    command: click.Command = _lwp
    context = click.Context(_lwp)
    words = list(words)
    while words and isinstance(command, click.Group) and re.match(r"[a-z]", words[0]):
        inner = command.get_command(context, name := words.pop(0))
        if inner is None:
            return f"no command {name}"
        command = inner
    options = {name: parameter for parameter in command.params for name in parameter.opts}
    while words:
        option, given, _ = words.pop(0).strip("[]").partition("=")
        if not option.startswith("-") or option == "-":
            if command.name == "run":
                return None  # it is the program, the rest is for that
        elif option not in options and option not in ("-h", "--help"):
            return f"no option {option}"
        elif option in options and not options[option].is_flag and not given:
            words = words[1:]
            if option in ("-m", "-c"):
                return None
    return None


@in_each
def test_quoted_commands_exist(document: Path) -> None:
    wrong = {" ".join(words): why for words in quoted_commands(document.read_text()) if (why := what_is_wrong(words))}
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("words", quoted_commands((TREE / "docs" / "lectures.md").read_text()), ids=" ".join)
def test_what_a_lecture_claims_is_shown_by_a_command(words: list[str]) -> None:
    if "pthread" in words and not (shutil.which("strace") and shutil.which("cc")):
        pytest.skip("strace or a compiler is not installed")
    words = [str(TREE / word) if word.startswith("examples/") else word for word in words]
    done = python("-m", "lwp", *words, timeout=110, status=1 if words[0] == "explore" else 0)
    assert len(done.stdout.splitlines()) > 5


def test_quoted_code_is_found_and_wrong_quotes_noticed() -> None:
    text = "`lwp demo nothing` and `lwp tls --up`\n```sh\nlwp run --report -m x --y  # z\nlwp doctor | grep -A 1\n```\n"
    commands = quoted_commands(text)
    assert [what_is_wrong(words) for words in commands] == ["no command nothing", "no option --up", None, None]
    assert commands[3] == ["doctor"]
    assert len(quoted_commands((TREE / "README.md").read_text())) > 5


# ---- links -----------------------------------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """Those that a forge gives to a document's headings, and a site to the modules of the reference."""
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings} | {
        *re.findall(r"^::: (\S+)$", prose, re.MULTILINE)
    }


def dead_links(document: Path) -> list[str]:
    """Relative links to a file or a heading that is not there."""
    dead, not_here = [], [book for book in BOOKS if not book.exists()]
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if any(target.is_relative_to(book) for book in not_here):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


@in_each
def test_quoted_tests_exist(document: Path) -> None:
    named = re.findall(r"pytest (?:-\S+ )*(tests/[^\s`]+)", document.read_text())
    assert not [path for path in named if not (TREE / path).exists()]


@in_each
def test_links_lead_somewhere(document: Path) -> None:
    assert not dead_links(document)


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# Here: we are\n[a](b.md) [b](a.md#here-we-are) [c](#there) [d](https://example.org/)\n"
    )
    assert dead_links(tmp_path / "a.md") == ["b.md", "#there"]
