"""Rights in a folder, and what none of them can do."""

from __future__ import annotations

from tasks.destinations.local import LocalSettings
from tasks.destinations.rights.role import DOES, Rights, Role


def local_rights(name: str, settings: LocalSettings, role: Role) -> Rights:
    path = settings.path
    if role == "reader":
        commands = (f"mount --bind {path} /mnt/{name}", f"mount -o remount,bind,ro /mnt/{name}")
        notes = [
            f"reader: {DOES[role]}",
            (
                "its files are for their owner alone (0600): the reader is that user, or root, and is given the folder"
                f" mounted read-only, as `{path}:{path}:ro` in a container; there `path` of `{name}` is that mount"
            ),
        ]
        return Rights(role, commands, tuple(notes))
    commands = (
        "useradd --system --shell /usr/sbin/nologin geometra-backup",
        f"install -d -m 0700 -o geometra-backup -g geometra-backup {path}",
    )
    notes = [
        f"{role}: {DOES[role]}",
        (
            "in a folder writer and pruner are one user: who may write there may delete there, whatever modes and ACLs"
            " say. The program never overwrites, but who takes over that user can destroy all of it"
        ),
        (
            "so let somebody else keep copies of it: snapshots of its file system that root takes and that user"
            f" can't delete (`btrfs subvolume snapshot -r {path} ...`, `zfs snapshot ...`), or a second destination in"
            " a cloud with `immutable_days`"
        ),
    ]
    return Rights(role, commands, tuple(notes))
