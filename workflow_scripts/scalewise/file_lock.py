"""Locks on files that end with their process, however it ends (flock)."""

import errno
import fcntl
import time
from typing import IO

from scalewise.errors import UserError

_TRIES, _PAUSE = 5, 0.05  # seconds: somebody who only looks holds a lock for a moment
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def take(file: IO) -> bool:
    """Lock an open file for this process alone; False where another process holds it.

    Raises UserError where its file system has no locks.
    """
    for number in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if number + 1 < _TRIES:
                time.sleep(_PAUSE)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise UserError(
                f"{file.name}: this file system has no locks ({error.strerror}), without which two "
                "runs could work on one result: mount it with them (flock), or work on another disk"
            ) from None
    return False


def is_held(file: IO) -> bool:
    """Whether another process holds the lock of an open file."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no locks here: whoever takes one says so
    return False
