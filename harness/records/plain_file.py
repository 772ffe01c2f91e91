"""Opens the files of a results folder, which must be plain files.

The results folder and its subfolders may be symbolic links. The files in them may not: through a
link the harness could overwrite any file of the user, and a named pipe would block it forever.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
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
    errno.ENOENT: f"its folder was deleted or moved in the meantime: {_RERUN}",
    errno.EIO: "the disk is faulty: check it, or choose a folder on another one with --results",
    errno.ENOLCK: "this disk does not support locks: choose a folder on another with --results",
    errno.EMFILE: f"raise the limit of open files (ulimit -n), then {_RERUN}",
}


def open_no_follow(path: Path, flags: int) -> int:
    """Open the plain file ``path`` with ``flags`` of ``os.open``; return the descriptor.

    Raises:
        StoreError: a symbolic link, a folder, a pipe or a device is in its place.
        OSError: it cannot be opened for another reason.
    """
    # O_NONBLOCK: do not wait if it is a pipe; it has no effect on a plain file.
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
    """Read the plain file ``path``.

    Raises:
        StoreError: as for ``open_no_follow``.
        OSError: as for ``open_no_follow``.
    """
    with os.fdopen(open_no_follow(path, os.O_RDONLY), "rb") as stream:
        return stream.read()


def names_in(folder: Path) -> list[str]:
    """List the names in a folder, sorted and without hidden ones; empty if there is no folder.

    ``Path.glob`` would silently skip a folder that cannot be read.

    Raises:
        StoreError: the folder exists but cannot be read.
    """
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from None


def refuse_link(path: Path) -> None:
    """Reject a symbolic link, for files that another library opens and would follow.

    Raises:
        StoreError: ``path`` is a symbolic link.
    """
    if path.is_symlink():
        raise StoreError(
            f"{path}: is a symbolic link, which is not followed here; put the file itself in its "
            "place, or link the whole results folder"
        )


def unwritable(path: Path, error: OSError) -> StoreError:
    """Make the error for a ``path`` that cannot be written, with a fitting remedy."""
    remedy = _REMEDIES.get(error.errno or 0, f"fix that, then {_RERUN}")
    return StoreError(f"{path}: cannot write: {error.strerror or error}; {remedy}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError in a ``with`` block into a StoreError that ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from None


def unreadable(path: Path, error: OSError) -> StoreError:
    """Make the error for a file of the results that exists but cannot be read."""
    return StoreError(
        f"{path}: cannot be read: {error.strerror or error}; give read access, or move it away and "
        "run the same command again"
    )


def _no_file(path: Path) -> StoreError:
    what = " but a folder" if path.is_dir() else ""
    return StoreError(f"{path}: is not a plain file{what}; move it away")
