"""Rights in Azure: what a shared access signature of a container permits."""

from __future__ import annotations

from tasks.destinations.azure_settings import AzureSettings, set_up
from tasks.destinations.rights.role import DOES, Rights, Role


def azure_rights(name: str, settings: AzureSettings, role: Role) -> Rights:
    account, permissions = settings.account, permitted(settings, role)
    command = (
        f"az storage container generate-sas --account-name {account} --name {settings.container} --permissions"
        f" {permissions} --expiry $(date -u -d '+1 year' +%Y-%m-%dT%H:%MZ) --https-only --auth-mode key --output tsv"
    )
    notes = [
        f"{role}: {DOES[role]}",
        (
            f"the signature goes into what `sas` of `{name}` refers to on the hosts of that role; it ends on its day,"
            " or when the account's key is renewed"
        ),
        "the account's key itself may do everything but undo a locked policy: keep it away from every worker",
    ]
    if role == "writer":
        notes.append("`c` creates what is not there; overwriting would need `w`, which the writer does not have")
    if settings.immutable_days:
        notes.append(f"the container has to be made for locks: {set_up(account, settings.container)}")
        if role != "reader":
            notes.append("`i` can lock for longer than was meant, and undo nothing that is locked")
    elif role != "reader":
        notes.append("without `immutable_days`, who has the pruner's signature can delete everything at once")
    return Rights(role, (command,), tuple(notes), {"permissions": permissions})


def permitted(settings: AzureSettings, role: Role) -> str:
    """The letters, in the order that the service wants."""
    wanted = {"writer": "rcl", "pruner": "rcdl", "reader": "rl"}[role]
    if settings.immutable_days and role != "reader":
        wanted += "xi" if role == "pruner" else "i"
    return "".join(letter for letter in "racwdxyltmeopi" if letter in wanted)
