"""Files that the tools make: other programs and users that have, want or change a file of that name do no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment, lwp, refusal
from conftest import Child, in_child, run_thread

from lwp.observe.trace import read
from lwp.reading.folders import private
from runtime import Thread

NOBODY = 65534
RECORDING = [sys.executable, "-m", "runtime", "run", "--trace", "t.html", "-c"]
#: It says when it records, and then starts threads until its input ends.
STARTS = """
import os, select, sys, threading
def start():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
start()
print("records", flush=True)
while not select.select([0], [], [], 0)[0]:
    start()
for _ in range(1000):
    start()
"""


def begun(program: str, folder: Path) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*RECORDING, program], cwd=folder, env=environment(), text=True, **pipes)
    assert process.stdout.readline() == "records\n"
    return process


def as_nobody(*acts: str) -> None:
    """Done by another user, in a process of its own."""
    code = f"import os; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); os.umask(0); " + "; ".join(acts)
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder such as /tmp, in which all users make files."""
    folder = tmp_path_factory.mktemp("shared")
    for above in (folder, *folder.parents[:3]):
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    folder.chmod(0o1777)
    return folder


# ---- records ---------------------------------------------------------------------------------------------------------


def test_a_file_of_records_that_is_in_use_is_refused(tmp_path: Path) -> None:
    """The second program would cut what the first has mapped."""
    with begun(STARTS, tmp_path) as first:
        records = tmp_path / "t.html.records"
        before = records.stat()
        said = refusal(lwp(*RECORDING[3:], "print('second')", cwd=tmp_path, status=2))
        assert said.endswith("t.html.records: another program records into it\n")
        assert records.stat().st_ino == before.st_ino
        assert records.stat().st_mode & 0o777 == 0o400  # so that none but root cuts it by mistake
        _, errors = first.communicate("")
    assert first.returncode == 0, errors
    assert not records.exists()
    assert "Thread-1" in (tmp_path / "t.html").read_text()


def test_what_a_killed_program_has_left_is_replaced(tmp_path: Path) -> None:
    with begun(STARTS, tmp_path) as killed:
        killed.kill()
    with open(tmp_path / "t.html.records", "rb") as before:
        lwp(*RECORDING[3:], "import os; os._exit(0)", cwd=tmp_path)
        assert (tmp_path / "t.html.records").stat().st_ino != os.fstat(before.fileno()).st_ino
        assert os.fstat(before.fileno()).st_nlink == 0
        assert before.read(8) == b"lwptrace"  # it isn't cut


def test_a_program_whose_file_is_removed_leaves_the_next_ones_alone(tmp_path: Path) -> None:
    with begun(STARTS, tmp_path) as first:
        (tmp_path / "t.html.records").unlink()
        with begun(STARTS, tmp_path) as second:
            _, errors = first.communicate("")
            assert first.returncode == 0
            assert errors.endswith("t.html.records: the program's records were removed meanwhile\n")
            assert (tmp_path / "t.html.records").exists()
            assert " threads, " in second.communicate("")[1]
    assert (tmp_path / "t.html").exists()


@pytest.mark.parametrize("byte", [0, 1, 0x7F, 0xFF])
def test_what_is_written_into_the_file_doesnt_lead_its_program(byte: int, tmp_path: Path) -> None:
    """Its header, the texts and all chunks say something else, again and again."""
    with begun(STARTS, tmp_path) as process:
        records = tmp_path / "t.html.records"
        records.chmod(0o600)
        with records.open("r+b") as file:
            for _ in range(20):
                file.seek(0)
                file.write(bytes([byte]) * records.stat().st_size)
        errors = process.communicate("")[1]
        assert process.returncode == 0, errors
    assert "t.html" in errors  # the timeline, or why there is none


@in_child
def test_a_recording_begins_again_after_its_header_was_changed(tmp_path: Path) -> None:
    from lwp.observe import trace

    records = tmp_path / "r"
    for number in range(3):
        trace.record(records)
        records.chmod(0o600)
        with records.open("r+b") as file:
            file.write(bytes([85 * number]) * 4096)
        for _ in range(500):
            run_thread(Thread(target=int))
        trace.stop()


# ---- readers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The records of a program that has not ended in order."""
    lwp(*RECORDING[3:], f"{STARTS.partition('print')[0]}os._exit(0)", cwd=tmp_path)
    return tmp_path / "t.html.records"


def test_a_file_that_is_cut_while_it_is_followed(child: Child, left: Path, tmp_path: Path) -> None:
    whole = left.read_bytes()
    for kept in (600_000, 5000, 100, 0):
        (tmp_path / "copy").write_bytes(whole)
        child(follow_cut, str(tmp_path / "copy"), kept)


def follow_cut(file: str, kept: int) -> None:
    from pathlib import Path

    from lwp.observe.following import Follower

    follower = Follower(Path(file))
    assert not follower.take().ended
    os.truncate(file, kept)
    for _ in range(3):
        batch = follower.take()
    assert batch.ended is (kept < 4096)


def test_a_file_that_would_fill_the_memory_is_refused(left: Path) -> None:
    left.chmod(0o600)
    os.truncate(left, 1 << 43)
    said = r"t\.html\.records can't be read: there is no memory for its 8,796,093,022,208 bytes$"
    with pytest.raises(ValueError, match=said):
        read(left)


# ---- other users -----------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_another_users_files_and_links_are_replaced(shared: Path) -> None:
    precious = shared / "precious"
    precious.write_text("x")
    precious.chmod(0o600)
    files = {name: shared / name for name in ("link", "file", "pipe", "dangling")}
    as_nobody(
        f"os.symlink({str(precious)!r}, {str(files['link'])!r})",
        f"os.symlink({str(shared / 'new')!r}, {str(files['dangling'])!r})",
        f"open({str(files['file'])!r}, 'w').close()",
        f"os.mkfifo({str(files['pipe'])!r}, 0o666)",
    )
    for file in files.values():
        assert file.lstat().st_uid == NOBODY
        with open(file, "w", opener=private) as out:
            out.write("data")
        found = file.lstat()
        assert (found.st_uid, found.st_mode) == (os.geteuid(), 0o100600)
        assert file.read_text() == "data"
    assert precious.read_text() == "x"
    assert not (shared / "new").exists()


@pytest.mark.root
def test_records_are_in_a_file_of_ones_own(child: Child, shared: Path) -> None:
    files = {name: shared / name for name in ("file", "closed", "link")}
    as_nobody(
        f"open({str(files['file'])!r}, 'w').close()",
        f"os.close(os.open({str(files['closed'])!r}, os.O_CREAT, 0))",
        f"os.symlink({str(shared / 'new')!r}, {str(files['link'])!r})",
    )
    for file in files.values():
        child(record_a_thread, str(file))
        assert (file.lstat().st_uid, file.lstat().st_mode) == (os.geteuid(), 0o100400)
        assert read(file).tracks
    assert not (shared / "new").exists()


def record_a_thread(file: str) -> None:
    from lwp.observe import trace

    trace.record(file)
    run_thread(Thread(target=int))


def test_ones_own_link_and_a_device_are_written_to(tmp_path: Path) -> None:
    for name in ("target", "other"):
        (tmp_path / name).write_text("old")
    (tmp_path / "link").symlink_to("target")
    with open(tmp_path / "link", "w", opener=private) as out:
        out.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    with open("/dev/null", "w", opener=private) as out:
        out.write("nothing")
    assert Path("/dev/null").is_char_device()
    done = lwp("ps", "--json", "/dev/stdout", status=None)
    assert done.stdout.startswith("[")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        private(str(tmp_path / "folder"), os.O_WRONLY)


def test_a_file_that_others_have_open_is_not_written_to(tmp_path: Path) -> None:
    file = tmp_path / "x.html"
    file.write_text("old")
    file.chmod(0o640)
    with file.open() as before:
        with open(file, "w", opener=private) as out:
            out.write("new")
        assert before.read() == "old"
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640  # its owner has chosen that
