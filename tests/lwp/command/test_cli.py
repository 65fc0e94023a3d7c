"""The program's face: help, version, errors, doctor."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
from pathlib import Path

import pytest
from commands import completed, lwp, python, refusal
from native_helper import preload
from this_machine import needs_matplotlib

import runtime
from lwp.terminal.gone import GONE, gone


def test_importing_the_library_imports_no_program() -> None:
    loaded = python("-c", "import runtime, sys; print(*{m.partition('.')[0] for m in sys.modules})").stdout.split()
    assert {"runtime", "click", "rich"} & set(loaded) == {"runtime"}


def test_importing_the_library_does_not_load_the_core() -> None:
    program = "import runtime, sys; print('runtime.native' in sys.modules, runtime.Thread)"
    assert python("-c", program).stdout.startswith("False <class 'runtime.thread.Thread'>")
    shown = python("-c", "import runtime; runtime.nonsense", status=1)
    assert shown.stderr.endswith("AttributeError: module 'runtime' has no attribute 'nonsense'\n")


def test_a_thread_loads_little() -> None:
    """Every process pays for it: dataclasses alone, with what it imports, took a fifth of the time."""
    programs = "import threading", "import runtime; runtime.Thread", "import runtime; runtime.install()"
    plain, thread, installed = (
        set(python("-c", f"{program}; import sys; print(*sys.modules)").stdout.split()) for program in programs
    )
    assert "runtime.thread" in thread
    assert "runtime.patch.installation" in installed
    assert not (installed - plain) & {"dataclasses", "inspect", "dis", "tokenize", "traceback", "lwp.observe.waits"}
    assert not thread & {"runtime.scheduler", "runtime.patch"}


def test_submodules_are_there_when_they_are_asked_for() -> None:
    program = """if True:
        import runtime, sys
        assert {"scheduler", "sync", "thread", "threading", "tls", "observe", "is_installed"} <= set(dir(runtime))
        assert "runtime.native" not in sys.modules
        runtime.sync.Lock, runtime.tls.local, runtime.scheduler.spawn, runtime.threading.Thread, runtime.observe.trace
        print(runtime.is_installed())
        runtime.install()
        print(runtime.is_installed())
        """
    shown = python("-c", program)
    assert (shown.stdout, shown.stderr) == ("False\nTrue\n", "")


def test_dir_lists_public_names_only() -> None:
    program = """if True:
        import runtime, types
        runtime.Thread, runtime.install, runtime.observe, runtime.__version__
        for module in (runtime, runtime.scheduler, runtime.tls, runtime.thread, runtime.placement, runtime.patch):
            names = {name for name in dir(module) if not name.startswith("__")}
            modules = runtime._MODULES | {"observe", "tlsmap"} if module is runtime else set()
            strange = names - modules - set(module.__all__)
            assert not any(isinstance(getattr(module, name), types.ModuleType) for name in strange), strange
            assert not strange & {"TYPE_CHECKING", "annotations", "loading"} and not any(n[0] == "_" for n in strange)
        """
    python("-c", program)


def test_modules_of_tools_are_found_in_the_core() -> None:
    program = """if True:
        import runtime
        from runtime import limits, observe, tlsmap
        assert limits is observe.limits
        observe.waits, tlsmap.inspection, tlsmap.comparison
        print(tlsmap.variables.variables is runtime.tls.variables, observe.trace.record.__name__)
        """
    shown = python("-c", program)
    assert (shown.stdout, shown.stderr) == ("True record\n", "")


@pytest.mark.parametrize(
    "arguments", [["run", "-c", "1"], ["doctor"], ["demo", "vm"], ["tls"], ["bench", "--list"], ["--help"]]
)
def test_where_it_cannot_work(arguments: list[str]) -> None:
    program = "import sys; sys.platform = 'plan9'; from lwp.command import main; sys.exit(main())"
    shown = python("-c", program, *arguments, status=1)
    assert shown.stdout == ""
    assert shown.stderr.startswith("lwp: runtime works with CPython on Linux, x86-64 or aarch64")
    assert shown.stderr.endswith("; this is plan9\n")
    assert shown.stderr.count("\n") == 1


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    environment = preload(tmp_path, 'const char *gnu_get_libc_version(void) { return "2.33"; }')
    done = lwp("doctor", status=1, **environment)
    assert done.stderr.startswith("lwp: runtime can't work with this C library: glibc 2.33")
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_requirement_of_the_program(tmp_path: Path) -> None:
    for name in ("lwp", "lwp_runtime.py", "runtime"):  # away from what was installed beside them
        (tmp_path / name).symlink_to(Path(runtime.__file__).parents[1] / name)
    done = python("-S", "-m", "runtime", "--help", cwd=tmp_path, status=1, PYTHONPATH="")
    assert done.stdout == ""
    assert done.stderr.startswith("lwp: click is missing: ")
    assert done.stderr.count("\n") == 1


OF_ALL = ("Examples:", "lwp run server.py", "\n  run ", "\n  demo ", "\n  tls ", "\n  doctor ", "--version")
OF_RUN = ("-m MODULE", "-c CODE", "SCRIPT", "--stack-size", "--report", "Examples:")


@pytest.mark.parametrize(
    ("arguments", "words"), [((), OF_ALL), (("--help",), OF_ALL), (("-h",), OF_ALL), (("run", "--help"), OF_RUN)]
)
def test_help(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    shown = lwp(*arguments)
    assert shown.stderr == ""
    assert shown.stdout.startswith("Usage: python -m runtime")
    assert [word for word in words if word not in shown.stdout] == []


def test_version() -> None:
    from lwp.command import version

    assert lwp("--version").stdout == f"lwp {version()}\n"


def as_text(value: object) -> str | None:
    """The id of a command, a list of words; of what else is given to the test, pytest's own."""
    return " ".join(value) if isinstance(value, list) else None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rum"], "lwp: no command 'rum': did you mean run?\n"),
        (["benhc"], "lwp: no command 'benhc': did you mean bench?\n"),
        (["doctr"], "lwp: no command 'doctr': did you mean doctor?\n"),
        (["demo", "tsl"], "lwp: no demo 'tsl': did you mean tls?\n"),
        (["xyzzy"], "lwp: no command 'xyzzy': lwp --help lists them\n"),
        (["--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["run"], "SCRIPT"),
        (["bench", "lock-tyr"], "lwp: no operation 'lock-tyr': did you mean lock-try?\n"),
        (["bench", "lokc"], "lwp: no operation 'lokc': did you mean lock?\n"),
        (["run", "--nonsense", "x.py"], "--nonsense"),
        (["run", "--stack-size", "31K", "x.py"], "at least"),
        (["run", "--stack-size", "9999999999G", "x.py"], "address space"),
        (["run", "--stack-size", "lots", "x.py"], "'lots' is not a size"),
        (["run", "--stack-size"], "requires an argument"),
        (["run", "-m"], "requires an argument"),
        (["run", "--wachdog", "5", "x.py"], "no option '--wachdog': did you mean --watchdog?"),
        (["run", "--live", "x.py"], "--live is gone: lwp top PID"),
        (["tls", "--svg", "/dev/full"], "/dev/full: No space left on device"),
        (["run", "-u", "x.py"], "options of python go before: python -u -m runtime run x.py"),
        (
            ["run", "--report", "-X", "dev", "x.py"],
            "options of python go before: python -X dev -m runtime run --report x.py",
        ),
        (["doctor", "x"], "unexpected extra argument"),
    ],
    ids=as_text,
)
def test_errors_are_one_line(arguments: list[str], says: str) -> None:
    said = refusal(lwp(*arguments, status=2))
    assert said.startswith("lwp: ")
    assert says in said


@pytest.mark.parametrize(
    ("program", "words", "status", "said"),
    [
        ("", "--watchdog 5", 0, "lwp run --watchdog 5 x.py"),
        ("", "--chaos --locks=a.json", 0, "lwp run --chaos --locks=a.json x.py"),
        ("", "--watchful 5", 0, ""),
        ("import sys; sys.argv", "--trace 5", 0, ""),
        ("import sys; sys.exit(2 * ('--trace' in sys.argv))", "--trace 5", 2, "lwp run --trace 5 x.py"),
    ],
)
def test_an_option_behind_the_script_is_the_scripts(
    program: str, words: str, status: int, said: str, tmp_path: Path
) -> None:
    """Where it stands for lwp is said if the script reads no arguments, or refuses them."""
    (tmp_path / "x.py").write_text(program)
    done = lwp("run", "x.py", *words.split(), cwd=tmp_path, status=status)
    assert said in done.stderr
    assert bool(said) == ("behind x.py goes to the program" in done.stderr)


@pytest.mark.parametrize(("command", "option"), [(command, option) for command in GONE for option in GONE[command]])
def test_an_option_that_was_taken_away(command: str, option: str) -> None:
    """What serves instead is said."""
    for words in ([option], [option, "x.py"], [f"{option}=x", "x.py"]):
        assert refusal(lwp(command, *words, status=2)) == f"lwp: {gone(command, option)}\n"


def test_an_option_behind_a_module_that_refuses_it() -> None:
    said = "behind -m json.tool goes to the program; if lwp is meant: lwp run --watchdog 5 -m json.tool"
    assert said in lwp("run", "-m", "json.tool", "--watchdog", "5", status=2).stderr


def test_help_has_few_options_under_headings() -> None:
    shown = lwp("run", "--help").stdout
    *_, program, make, watch, draw = re.split(r"^(?:The program|Make|Watch|Draw)[^\n]*:$", shown, flags=re.MULTILINE)
    options = [re.findall(r"^  (-[-\w]*)", part, re.MULTILINE) for part in (program, make, watch, draw)]
    assert options[0] == ["-m", "-c", "-"]
    assert len(options[1] + options[2] + options[3]) <= 16
    heads = re.findall(r"^(\w[^\n]*):$", lwp("--help").stdout, re.MULTILINE)
    assert [head.split()[0] for head in heads if head != "Options"] == ["Run", "See", "Find", "Study"]


PRINTING = [["--help"], ["--version"], ["run", "--help"], ["doctor"], ["doctor", "--json"], ["tls"]]
PRINTING += [["tls", "--threads", "2", "--json"], ["demo"], ["demo", "vm"], ["bench", "--list"]]
PRINTING += [["bench", "--quick", "lock-try"]]


@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [*((words, "") for words in PRINTING), (["tls"], "1")], ids=as_text
)
def test_a_full_disk_is_reported_in_a_line(arguments: list[str], unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        shown = lwp(*arguments, stdout=full, status=1, PYTHONUNBUFFERED=unbuffered)
    assert shown.stderr == "lwp: standard output: No space left on device\n"


def test_a_partial_write_is_completed_without_a_buffer_too(tmp_path: Path) -> None:
    """A file of limited size takes a part of the only write, and refuses the rest, if that is tried."""
    limit = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (5, 5)); "
    program = limit + "import sys, lwp.command; sys.argv[1:] = ['--version']; sys.exit(lwp.command.main())"
    with open(tmp_path / "shown", "w") as file:
        done = python("-u", "-c", program, stdout=file, status=1)
    assert done.stderr == "lwp: standard output: File too large\n"
    assert (tmp_path / "shown").stat().st_size == 5


def test_the_program_has_pythons_standard_output() -> None:
    program = "import sys; print(sys.stdout is sys.__stdout__)"
    assert lwp("run", "-c", program).stdout == "True\n"


def test_a_missing_script_is_reported_as_python_does() -> None:
    plain, ours = python("no/such.py", status=2), lwp("run", "no/such.py", status=2)
    assert ours.stderr.partition(": ")[2] == plain.stderr.partition(": ")[2]


def test_reader_that_leaves() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    shown = lwp("doctor", "--json", stdout=writer, status=1)
    os.close(writer)
    assert shown.stderr == ""


# ---- completion by the shell -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["be"], ["plain,bench"]),
        (["bench", "lock-p"], ["plain,lock-pair"]),
        (["bench", "lock-pair", "barr"], ["plain,barrier"]),
        (["demo", "cr"], ["plain,createthread"]),
        (["run", "ser"], ["file,ser"]),
        (["run", "--stack-size", "256K", "server.py", "da"], ["file,da"]),
        (["run", "--gre"], ["plain,--green"]),
    ],
    ids=str,
)
def test_completion(words: list[str], offered: list[str]) -> None:
    assert completed(*words)[: len(offered)] == offered


# ---- --json ----------------------------------------------------------------------------------------------------------

WITH_JSON = [["doctor"], ["tls"], ["tls", "--variables", "libc"], ["demo", "vm"], ["bench", "--quick", "lock-try"]]


@pytest.mark.parametrize("command", WITH_JSON, ids=" ".join)
def test_json_is_the_same_option_everywhere(command: list[str], tmp_path: Path) -> None:
    alone, file = lwp(*command, "--json"), tmp_path / "facts.json"
    facts = json.loads(alone.stdout)
    besides = lwp(*command, "--json", file)
    assert alone.stderr == besides.stderr == ""
    assert json.loads(file.read_text()).keys() == facts.keys()
    with pytest.raises(json.JSONDecodeError):
        json.loads(besides.stdout)
    assert len(besides.stdout.splitlines()) > 1, "what it prints without --json"


def test_json_of_which_standard_output_is_the_file() -> None:
    assert json.loads(lwp("demo", "vm", "--json", "-").stdout)["child"]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("no/such/folder/x.json", "No such file or directory"),
        ("lock-try", "for a file of that name write ./lock-try, for standard output write --json last"),
    ],
)
def test_a_bad_file_for_json_is_refused_first(file: str, says: str) -> None:
    said = refusal(lwp("bench", "--quick", "--json", file, status=2))
    assert said.startswith("lwp: ")
    assert says in said
    assert not Path(file).exists()


def test_a_file_for_json_on_a_full_disk() -> None:
    shown = lwp("demo", "vm", "--json", "/dev/full", status=2)
    assert shown.stderr == "lwp: /dev/full: No space left on device\n"


# ---- files -----------------------------------------------------------------------------------------------------------

PROGRAM = "import os, threading\nthread = threading.Thread(target=int); thread.start(); thread.join()\n"


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["demo", "vm", "--json", "x.json"], "x.json"),
        (["tls", "--svg", "x.svg"], "x.svg"),
        (["tls", "--html", "x.html"], "x.html"),
        (["demo", "createthread", "--html", "x.html"], "x.html"),
        (["run", "--trace", "x.html", "-c", PROGRAM], "x.html"),
        (["explore", "--html", "x.html", "x.py::test"], "x.html"),
        pytest.param(["demo", "cow", "--max-mb", "10", "--plot", "x.png"], "x.png", marks=needs_matplotlib),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else value,
)
def test_a_new_file_is_its_owners_alone(command: list[str], file: str, tmp_path: Path) -> None:
    """It may hold the program's data.  One that is there keeps its mode: its owner has chosen that."""
    made = "import os, sys; os.umask(0o022); os.execv(sys.executable, [sys.executable, '-m', 'runtime', *sys.argv[1:]])"
    (tmp_path / "x.py").write_text("def test():\n    assert False\n")
    python("-c", made, *command, cwd=tmp_path, status=None)
    assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
    (tmp_path / file).chmod(0o644)
    before = (tmp_path / file).stat().st_mtime_ns
    python("-c", made, *command, cwd=tmp_path, status=None)
    assert (tmp_path / file).stat().st_mtime_ns > before
    assert (tmp_path / file).stat().st_mode & 0o777 == 0o644


# ---- --plot ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["x.nope", "x", "no/such/folder/x"])
@pytest.mark.parametrize("command", [["bench", "--quick", "lock-try"], ["demo", "cow", "--max-mb", "10"]], ids=" ".join)
def test_an_unknown_kind_of_picture_is_refused_first(command: list[str], file: str) -> None:
    said = refusal(lwp(*command, "--plot", file, status=2))
    assert said == f"lwp: --plot: {file}: what is it to be? Its name must end in .png, .svg, .pdf, .jpg, .webp\n"


# ---- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_as_data() -> None:
    from runtime import limits
    from runtime.native import structures

    shown = lwp("doctor", "--json")
    assert shown.stderr == ""
    data = json.loads(shown.stdout)
    assert data["versions"]["kernel"] == platform.release()
    assert data["versions"]["machine"] == platform.machine()
    assert data["versions"]["glibc"] == structures.glibc_version()
    assert [fact["name"] for fact in data["facts"]] == [fact.name for fact in structures.facts()]
    assert all(fact["source"] and fact["check"] for fact in data["facts"])
    assert [limit["name"] for limit in data["limits"]] == [limit.name for limit in limits.limits()]
    pid_max = next(limit for limit in data["limits"] if limit["name"] == "kernel.pid_max")
    assert pid_max["value"] == int(Path("/proc/sys/kernel/pid_max").read_text())
    assert data["tasks"]["process"] == 1
    assert data["allowed"]["more"] == min(limit["more"] for limit in data["limits"] if limit["more"] is not None)


def doctor(*options: str) -> list[str]:
    """The lines that it prints."""
    shown = lwp("doctor", *options, COLUMNS="80", PYTHONIOENCODING="utf-8")
    assert shown.stderr == ""
    return shown.stdout.splitlines()


def test_doctor_says_first_how_many_threads_fit() -> None:
    first, second, *_ = doctor()
    assert re.fullmatch(r"All checks passed; room for [\d,]+ threads more\.", first)
    assert re.fullmatch(r"The first limit is .+ \(.+\)\.", second)


def test_doctor_for_people() -> None:
    from lwp.command.doctor import features
    from runtime import limits
    from runtime.native import structures

    shown, everything = "\n".join(doctor()), "\n".join(doctor("--all"))
    for name in [limit.name for limit in limits.limits()]:
        assert name in shown
        assert name in everything
    for feature in features():
        assert feature.name in shown
        assert feature.name in everything
    for name in [fact.name for fact in structures.facts()]:
        assert name in everything
    assert "pthread.stackblock" not in shown


@pytest.mark.parametrize("command", [["doctor"], ["tls"], ["demo", "tls"]])
def test_a_narrow_terminal_folds_lines_and_loses_nothing(command: list[str]) -> None:
    shown = lwp(*command, COLUMNS="40", PYTHONIOENCODING="utf-8").stdout
    assert 40 < max(map(len, shown.splitlines())) <= 80


def test_features_are_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel or filter that refuses is believed, whatever its version says."""
    from lwp.command import doctor

    def refuse(number: int, *_: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def found() -> dict[str, bool]:
        return {feature.name: feature.works for feature in doctor.features()}

    before = found()
    monkeypatch.setattr(doctor, "_syscall", refuse)
    asked = {"clone3", "futex_waitv", "pidfd for threads", "io_uring"}
    assert found() == {name: works and name not in asked for name, works in before.items()}


def test_features_of_this_kernel() -> None:
    """Against the kernel's version: true where nothing filters, so only what cannot be wrong either way."""
    from lwp.command import doctor

    version = tuple(int(part) for part in platform.release().split(".")[:2])
    for feature in doctor.features():
        if version < tuple(int(part) for part in feature.since.split(".")):
            assert not feature.works or feature.name == "guard regions"  # may have been backported
        if feature.name == "pidfd for threads" and version >= (6, 9):
            assert feature.works


def test_features_leave_nothing_behind() -> None:
    from lwp.command import doctor

    doctor.features()
    before = sorted(os.listdir("/proc/self/fd")), os.listdir("/proc/self/task")
    doctor.features()
    assert (sorted(os.listdir("/proc/self/fd")), os.listdir("/proc/self/task")) == before
