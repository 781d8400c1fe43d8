"""Files that appear complete or not at all, also where they are written piece by piece."""

import errno
from pathlib import Path

import pytest

from looktwice.atomic_files import remove_unfinished, unfinished, unfinished_path, write_atomically
from looktwice.errors import RunError


def test_pieces_make_one_file_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    with unfinished(tmp_path / "new" / "file") as part:
        with part.open("wb") as file:
            file.write(b"one ")
            assert not (tmp_path / "new" / "file").exists()
            file.write(b"two")
        part.replace(tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_bytes() == b"one two"
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["file"]


def test_a_mistake_among_the_pieces_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def fail_halfway() -> None:
        with unfinished(path) as part:
            part.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_among_the_pieces_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="free some space"), unfinished(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_files_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(RunError, match="cannot be written"):
        write_atomically(tmp_path / "file", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_is_whole_whether_the_disk_is_waited_for_or_not(tmp_path: Path, synced: bool) -> None:
    write_atomically(tmp_path / "a" / "file", b"content", synced=synced)
    assert (tmp_path / "a" / "file").read_bytes() == b"content"
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["file"]


def test_what_a_dead_process_left_half_written_is_removed(tmp_path: Path) -> None:
    half = unfinished_path(tmp_path / "file")
    *place, process, end = half.name.split(".")
    dead = half.with_name(".".join([*place, "999999999", end]))
    dead.write_bytes(b"half")
    remove_unfinished(tmp_path)
    assert process
    assert not dead.exists()
