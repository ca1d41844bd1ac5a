"""Small files that several processes read and write: seen whole or not at all, private, and never a surprise.

A plain truncating write was seen empty by 75 % of concurrent readers, so a new content is written beside the file, forced to
the disk and renamed over it: whoever reads gets the one or the other.
"""

from __future__ import annotations

import errno
import os
import stat

from sojourn.errors import PointerError

LIMIT = 8192
"""Bytes of a file that are read: no pointer, no id and no path is as long."""


def read_text(path: str) -> str | None:
    """What a small file says, without blanks around it; None when there is no file. `PointerError` when it cannot be read.

    A symbolic link is not followed and a pipe or device not waited for: either is refused. Bytes that are no UTF-8 are kept
    as escapes: they can be shown, and name nothing.
    """
    raw = read_bytes(path)
    return None if raw is None else raw.decode(errors="backslashreplace").strip()


def read_bytes(path: str) -> bytes | None:
    """The beginning of a small file as it is."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PointerError(f"{path} is a symbolic link, and links are not followed here.", hint="Remove it.") from error
        raise failed(path, "read", error) from error
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise PointerError(f"{path} is no file.", hint="Remove it.")
        return os.read(number, LIMIT)
    except OSError as error:
        raise failed(path, "read", error) from error
    finally:
        os.close(number)


def write_text(path: str, text: str, *, durable: bool = True) -> None:
    """Put ``text`` in a file of mode 0600, whole or not at all. `PointerError` when that fails; the old content stays then.

    What is not ``durable`` may be empty after a power cut.
    """
    partial = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        number = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with open(number, "wb") as file:
                file.write(os.fsencode(text))
                file.flush()
                if durable:
                    os.fsync(number)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise failed(path, "written", error) from error


def create_text(path: str, text: str) -> bool:
    """As `write_text` for a file that does not exist yet; False, and nothing done, when it does: one of several wins."""
    partial = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    write_text(partial, text)
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise failed(path, "written", error) from error
    finally:
        os.unlink(partial)
    return True


def remove(path: str) -> None:
    """Remove a file; nothing happens when there is none."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise failed(path, "removed", error) from error


def make_directory(path: str) -> None:
    """A directory of mode 0700, with those above it; nothing happens when it exists."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise failed(path, "made", error) from error


def failed(path: str, what: str, error: OSError) -> PointerError:
    """The error of a file that could not be read, written, locked or removed."""
    return PointerError(
        f"{path} cannot be {what}: {error.strerror}.", hint="Check the directory, its permissions and the disk."
    )
