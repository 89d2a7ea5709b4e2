"""Locks on files: one holder, short looks that disturb nobody, file systems without them."""

import errno
import fcntl
import threading
import time

import pytest

from scalewise import file_lock
from scalewise.errors import UserError
from scalewise.stage_lock import StageInUse, StageLock, holder_of


def test_one_process_has_it_and_the_others_are_told(tmp_path):
    with open(tmp_path / "lock", "a+") as mine, open(tmp_path / "lock", "a+") as theirs:
        assert not file_lock.is_held(theirs)
        fcntl.flock(theirs, fcntl.LOCK_UN)
        assert file_lock.take(mine)
        assert file_lock.is_held(theirs) and not file_lock.take(theirs)


def test_whoever_only_looks_refuses_nobody(tmp_path):
    looker = open(tmp_path / "lock", "a+")  # noqa: SIM115
    fcntl.flock(looker, fcntl.LOCK_SH)
    threading.Timer(0.1, looker.close).start()
    with open(tmp_path / "lock", "a+") as mine:
        assert file_lock.take(mine)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_what_to_do(tmp_path, monkeypatch, number):
    def refused(file, how):
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refused)
    with open(tmp_path / "lock", "a+") as file:
        assert not file_lock.is_held(file)
        with pytest.raises(UserError, match=r"lock: this file system has no locks .*mount it"):
            file_lock.take(file)
    with pytest.raises(UserError, match="no locks"), StageLock(tmp_path / "state"):
        pass


def test_a_stage_that_another_machine_works_on_is_told_with_its_name(tmp_path):
    folder = tmp_path / "state"
    with StageLock(folder):
        (folder / "lock").write_text("77 on another-machine")
        assert holder_of(folder) == "process 77 on another-machine"
        with pytest.raises(StageInUse, match=r"process 77 on another-machine already works"):
            begun = time.monotonic()
            StageLock(folder).__enter__()
        assert time.monotonic() - begun < 5
    assert holder_of(folder) is None
