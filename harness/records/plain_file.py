"""Opening the files of a results folder, each of which is a plain file.

The folder and those in it may be symbolic links. What is written or read there under a file's name
may not: a link could lead the harness to overwrite any file of the user, and a named pipe would
hold it up for ever.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from harness.errors import StoreError

_RERUN = "run the same command again"
_REMEDIES = {
    errno.ENOSPC: f"free some space there, then {_RERUN}",
    errno.EDQUOT: f"your quota is used up: free some space there, then {_RERUN}",
    errno.EROFS: "it is read-only: mount it for writing or choose another folder with --results",
    errno.EACCES: "give write access or choose another folder with --results",
    errno.EPERM: "give write access or choose another folder with --results",
    errno.EEXIST: "a file is in the way; move it or choose another folder with --results",
    errno.ENOTDIR: "a file is in the way; choose another folder with --results",
    errno.EISDIR: "a folder is in the way; move it or choose another one with --results",
    errno.ENAMETOOLONG: "choose a folder with a shorter path with --results",
    errno.ENOENT: f"its folder was deleted or moved meanwhile: {_RERUN}",
    errno.EIO: "the disk is at fault: check it, or choose a folder on another one with --results",
    errno.ENOLCK: "this disk knows no locks: choose a folder on another one with --results",
    errno.EMFILE: f"raise the limit of open files (ulimit -n), then {_RERUN}",
}


def open_no_follow(path: Path, flags: int) -> int:
    """A descriptor of the plain file ``path``, opened with ``flags`` of ``os.open``.

    Raises:
        StoreError: a symbolic link, a folder, a pipe or a device is in its place.
        OSError: it cannot be opened for another reason.
    """
    # Not to wait where it is a pipe; of no effect on a file.
    apart = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if not hasattr(os, "O_NOFOLLOW"):
        refuse_link(path)
    try:
        descriptor = os.open(path, flags | apart, 0o666)
    except OSError as error:
        refuse_link(path)
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise _no_file(path) from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _no_file(path)


def read_no_follow(path: Path) -> bytes:
    """The content of the plain file ``path``.

    Raises:
        StoreError: as ``open_no_follow``.
        OSError: as there.
    """
    with os.fdopen(open_no_follow(path, os.O_RDONLY), "rb") as stream:
        return stream.read()


def names_in(folder: Path) -> list[str]:
    """The names in a folder of the results, in order, but for hidden ones; none without a folder.

    ``Path.glob`` would pass over a folder that may not be read without a word.

    Raises:
        StoreError: it is there and cannot be read.
    """
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from None


def refuse_link(path: Path) -> None:
    """Refuse a file that another library opens, and would follow a symbolic link to.

    Raises:
        StoreError: it is one.
    """
    if path.is_symlink():
        raise StoreError(
            f"{path}: is a symbolic link, which is not followed here; put the file itself in its "
            "place, or make a link of the whole results folder"
        )


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error to show when ``path`` cannot be written, with a remedy that fits."""
    remedy = _REMEDIES.get(error.errno or 0, f"mend that, then {_RERUN}")
    return StoreError(f"{path}: cannot write: {error.strerror or error}; {remedy}")


def unreadable(path: Path, error: OSError) -> StoreError:
    """The error to show where a file of the results is there and cannot be read."""
    return StoreError(
        f"{path}: cannot be read: {error.strerror or error}; give read access, or move it away and "
        "run the same command again"
    )


def _no_file(path: Path) -> StoreError:
    what = " but a folder" if path.is_dir() else ""
    return StoreError(f"{path}: is no plain file{what}; move it away")
