"""Extended attributes, and with them POSIX ACLs (`system.posix_acl_*`), of open files and of paths.

A kernel or file system without them has none. Labels that a machine's own security policy gives are not kept: on
another machine they would be wrong.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

ExtendedAttributes = tuple[tuple[bytes, bytes], ...]

_OF_THE_MACHINE = frozenset(
    {"security.selinux", "security.ima", "security.evm", "security.apparmor", "security.SMACK64"}
)
_NONE_HERE = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA, errno.EPERM, errno.EACCES, errno.ENOENT})
_ACCESS_ACL, _DEFAULT_ACL = b"system.posix_acl_access", b"system.posix_acl_default"
_SUPPORTED = hasattr(os, "listxattr")


def attributes_of_file(descriptor: int) -> ExtendedAttributes:
    """Those of an open file or folder, as far as they are readable, sorted by name. Raises `OSError`."""
    if not _SUPPORTED:
        return ()
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno in _NONE_HERE:
            return ()
        raise
    return _read(names, partial(os.getxattr, descriptor)) if names else ()


def attributes_of_name(folder: int, name: bytes) -> ExtendedAttributes:
    """Those of a link, a pipe or a device, that can't be opened, in an open folder. Raises `OSError`."""
    if not _SUPPORTED:
        return ()
    path = _path(folder, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NONE_HERE:
            return ()
        raise
    return _read(names, partial(os.getxattr, path, follow_symlinks=False))


def give_file(descriptor: int, attributes: ExtendedAttributes) -> int:
    """Set them on an open file or folder; how many were refused."""
    return _write(attributes, partial(os.setxattr, descriptor)) if _SUPPORTED else len(attributes)


def give_name(folder: int, name: bytes, attributes: ExtendedAttributes) -> int:
    """Set them on a link or a pipe in an open folder; how many were refused."""
    if not _SUPPORTED:
        return len(attributes)
    return _write(attributes, partial(os.setxattr, _path(folder, name), follow_symlinks=False))


def has_default_acl(folder: int) -> bool:
    """Whether what is made in an open folder gets an access control list from it."""
    if not _SUPPORTED:
        return False
    try:
        return bool(os.getxattr(folder, _DEFAULT_ACL))
    except OSError:
        return False


def drop_acls(descriptor: int, kept: ExtendedAttributes) -> None:
    """Take away access control lists that an open file or folder has, but for those that are `kept`."""
    if _SUPPORTED:
        for name in {_ACCESS_ACL, _DEFAULT_ACL}.difference(name for name, _ in kept):
            with suppress(OSError):
                os.removexattr(descriptor, name)


def _read(names: list[str], get: Callable[[str], bytes]) -> ExtendedAttributes:
    found = []
    for name in sorted(names):
        if name not in _OF_THE_MACHINE:
            try:
                found.append((os.fsencode(name), get(name)))
            except OSError as error:
                if error.errno not in _NONE_HERE:
                    raise
    return tuple(found)


def _write(attributes: ExtendedAttributes, put: Callable[[bytes, bytes], None]) -> int:
    refused = 0
    for name, value in attributes:
        try:
            put(name, value)
        except (OSError, ValueError):  # a name with a NUL is a value error
            refused += 1
    return refused


def _path(folder: int, name: bytes) -> bytes:
    # These calls take no folder descriptor beside a name, and a plain path could be led astray.
    return b"/proc/self/fd/%d/%s" % (folder, name)
