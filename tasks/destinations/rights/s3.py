"""Rights in S3: a policy for a user of Amazon's, or of a service that speaks its language."""

from __future__ import annotations

from typing import Any

from tasks.destinations.rights.role import DOES, Rights, Role
from tasks.destinations.s3_lock import set_up
from tasks.destinations.s3_settings import S3Settings


def s3_rights(name: str, settings: S3Settings, role: Role) -> Rights:
    user = f"geometra-backup-{role}"
    at = f" --endpoint-url {settings.endpoint}" if settings.endpoint else ""
    commands = (
        f"geometra-backup policy {name} --role {role} --document > {role}.json",
        f"aws iam create-user --user-name {user}{at}",
        f"aws iam put-user-policy --user-name {user} --policy-name {user} --policy-document file://{role}.json{at}",
        f"aws iam create-access-key --user-name {user}{at}",
    )
    notes = [
        f"{role}: {DOES[role]}",
        (
            "whoever may list can see the names in all of the bucket, and has to, to tell what is missing from what is"
            " forbidden: give backups a bucket of their own"
        ),
    ]
    if role == "writer":
        notes.append("the writer must not own the bucket: an owner may do what no policy says")
        if settings.endpoint:
            notes.append(
                "that nobody overwrites is left to the service here, which has to know `If-None-Match`, also where"
                f" objects have versions: `geometra-backup check {name}` tries it"
            )
    if settings.immutable_days:
        notes.append(f"the bucket has to be made for locks: {set_up(settings.bucket)}")
    elif role != "reader":
        notes.append("without `immutable_days`, who has the pruner's key can delete everything at once")
    return Rights(role, commands, tuple(notes), document(settings, role))


def document(settings: S3Settings, role: Role) -> dict[str, Any]:
    """The policy, for a user. In it Amazon's own conditions are left out for other services, which do not know them."""
    bucket = f"arn:aws:s3:::{settings.bucket}"
    objects = f"{bucket}/{settings.prefix}/*" if settings.prefix else f"{bucket}/*"
    locks, amazon = settings.immutable_days is not None, settings.endpoint is None
    listing, acting = ["s3:ListBucket"], ["s3:GetObject"]
    if role != "reader":
        acting.append("s3:PutObject")
        acting += ["s3:GetObjectRetention", "s3:PutObjectRetention"] if locks else []
    if role != "writer" and locks:
        acting.append("s3:GetObjectVersion")
        listing.append("s3:ListBucketVersions")
    if role == "pruner":
        acting.append("s3:DeleteObject")
        acting += ["s3:DeleteObjectVersion"] if locks else []
    statements = [
        {"Sid": "Lists", "Effect": "Allow", "Action": listing, "Resource": bucket},
        {"Sid": "Acts", "Effect": "Allow", "Action": acting, "Resource": objects},
    ]
    if role != "reader" and amazon:
        never: Any = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
        statements.append(_denied("NeverOverwrites", "s3:PutObject", objects, never))
        if locks:
            longest = {"s3:object-lock-remaining-retention-days": str((settings.immutable_days or 0) + 1)}
            condition = {"NumericGreaterThan": longest}
            statements.append(_denied("LocksNoLonger", "s3:PutObjectRetention", objects, condition))
    return {"Version": "2012-10-17", "Statement": statements}


def _denied(sid: str, action: str, resource: str, condition: dict[str, Any]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Deny", "Action": action, "Resource": resource, "Condition": condition}
