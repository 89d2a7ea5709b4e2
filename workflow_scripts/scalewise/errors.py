"""Errors that are the user's to mend."""

import errno
import os
import re

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


class UserError(Exception):
    """Something that the user can mend; the message names file or key and says what to do."""


def number_of(error: BaseException) -> int | None:
    """The system's number of an error, also where a library of another language only tells it in
    words: "(os error 28)" of safetensors, "errno = 28" and "[Errno 28]" of HDF5."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"(?:os error|errno\s*=|\[Errno)\s*(\d+)", str(error), re.IGNORECASE)
    return int(found.group(1)) if found else None


def of_the_system(error: BaseException) -> UserError | None:
    """What a user is told where disk or system failed, with what to do; None for other errors."""
    number = number_of(error)
    if number is None:
        return None
    name = getattr(error, "filename", None) or "results"
    reason = os.strerror(number)
    if number in _FULL:
        return UserError(
            f"{name}: could not be written ({reason}): make room and start again; nothing that was "
            "finished or saved is lost"
        )
    if number in _CLOSED:
        return UserError(
            f"{name}: {reason}: check how the disk is mounted and who may write there, then start "
            "again"
        )
    if number in (errno.EIO, errno.ESTALE):
        return UserError(f"{name}: {reason}: check the disk, then start again")
    return None
