"""Rights in Google Cloud Storage: a role of one's own, given to a service account on one bucket."""

from __future__ import annotations

from tasks.destinations.gcs_settings import GcsSettings, set_up
from tasks.destinations.rights.role import DOES, Rights, Role


def gcs_rights(name: str, settings: GcsSettings, role: Role) -> Rights:
    permissions, account, title = permitted(settings, role), f"geometra-backup-{role}", f"geometraBackup{role.title()}"
    member = f"{account}@$PROJECT.iam.gserviceaccount.com"
    commands = (
        "PROJECT=$(gcloud config get-value project)",
        f"gcloud iam roles create {title} --project $PROJECT --permissions {','.join(permissions)}",
        f"gcloud iam service-accounts create {account}",
        (
            f"gcloud storage buckets add-iam-policy-binding gs://{settings.bucket} --member serviceAccount:{member}"
            f" --role projects/$PROJECT/roles/{title}"
        ),
        f"gcloud iam service-accounts keys create {role}.json --iam-account {member}",
    )
    notes = [
        f"{role}: {DOES[role]}",
        f"`{role}.json` is what `credentials` of `{name}` names on the hosts of that role",
        "it holds for the whole bucket: give backups a bucket of their own",
    ]
    if settings.immutable_days:
        notes.append(f"the bucket has to be made for locks: {set_up(settings.bucket)}")
    elif role != "reader":
        notes.append("without `immutable_days`, who has the pruner's key can delete everything at once")
    return Rights(role, commands, tuple(notes), {"title": title, "includedPermissions": permissions})


def permitted(settings: GcsSettings, role: Role) -> list[str]:
    """Overwriting would take the right to delete as well."""
    wanted = ["storage.objects.get", "storage.objects.list"]
    if role != "reader":
        wanted.append("storage.objects.create")
        if settings.immutable_days:
            wanted += ["storage.objects.setRetention", "storage.objects.update"]
    if role == "pruner":
        wanted.append("storage.objects.delete")
    return wanted
