import errno
import os
import stat
from pathlib import Path

import pytest

from lyrics_asr.files import OutputError, atomic_path, require_writable_folder, write_text


def folder_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_byte_for_byte_in_utf8_into_new_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "song.lrc"
    write_text(path, "naïve 日本\nend\n")
    assert path.read_bytes() == "naïve 日本\nend\n".encode()
    assert folder_names(path.parent) == ["song.lrc"]


def test_temporary_file_lies_beside_with_the_same_suffix_and_the_name_appears_only_at_the_end(tmp_path):
    path = tmp_path / "song.wav"
    with atomic_path(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".wav")
        temporary.write_bytes(b"sound")
        assert not path.exists()
    assert folder_names(tmp_path) == ["song.wav"]
    assert path.read_bytes() == b"sound"


def test_written_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "atomic", "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("a bug"), SystemExit])
def test_anything_in_the_middle_of_a_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "song.json"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_half()
    assert folder_names(tmp_path) == ["song.json"]
    assert path.read_text() == "old"


def test_full_disk_names_file_cause_and_remedy_and_leaves_nothing(tmp_path, full_disk):
    with pytest.raises(OutputError, match=r"song\.txt: cannot be written: No space left on device; free some space"):
        write_text(tmp_path / "song.txt", "words")
    assert folder_names(tmp_path) == []


def test_folder_without_write_permission(tmp_path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputError, match=r"song\.txt: cannot be written: Permission denied; choose a folder"):
        write_text(tmp_path / "song.txt", "words")


def test_read_only_folder(tmp_path):
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(OutputError, match="Permission denied"):
        write_text(folder / "song.txt", "words")
    with pytest.raises(OutputError, match="Permission denied"):
        require_writable_folder(folder)


def test_path_under_a_file(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(
        OutputError, match=r"song\.txt: cannot be written: (Not a directory|File exists); choose another"
    ):
        write_text(tmp_path / "file" / "song.txt", "words")
    assert (tmp_path / "file").read_text() == "kept"


def test_folder_in_place_of_the_file(tmp_path):
    (tmp_path / "song.txt").mkdir()
    with pytest.raises(OutputError, match=r"song\.txt: cannot be written: Is a directory; choose another name"):
        write_text(tmp_path / "song.txt", "words")
    assert folder_names(tmp_path) == ["song.txt"]


def test_inner_output_error_keeps_its_own_file_name(tmp_path):
    (tmp_path / "inner.txt").mkdir()

    def write_both():
        with atomic_path(tmp_path / "outer.txt"):
            write_text(tmp_path / "inner.txt", "words")

    with pytest.raises(OutputError, match=r"inner\.txt: cannot be written"):
        write_both()


def test_writable_folder_is_made_and_left_empty(tmp_path):
    require_writable_folder(tmp_path / "a" / "b")
    assert folder_names(tmp_path / "a" / "b") == []


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"out: cannot be written: Not a directory; choose another name"):
        require_writable_folder(tmp_path / "file" / "out")


def test_a_written_file_and_then_its_name_are_synced(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def record(descriptor):
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, folder_names(tmp_path)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_text(tmp_path / "song.txt", "words")
    (first, before), (second, after) = synced
    assert before == [first] != ["song.txt"]
    assert (second, after) == (tmp_path.name, ["song.txt"])


def test_a_file_system_that_cannot_sync_folders_is_no_error(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_text(tmp_path / "song.txt", "words")
    assert (tmp_path / "song.txt").read_text() == "words"
