"""The models of backup.toml that every kind shares: frozen, validated, and told apart by `kind`.

Each kind of source and destination adds its own options in its own file, by subclassing; `tasks/configuration` joins
them. The text below each option is the user's documentation: `init`, the README and the editor's schema are made of it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)

from tasks import cron, due
from tasks.model import Model
from tasks.secret import Address, SecretReference
from tasks.values import ByteCount, Count, Duration, Name, Schedule, Size, TimeZone, Window, at_least, in_short


class SourceSettings(Model):
    """What every source has, whatever its kind."""

    kind: str
    """What it is; the kinds and their own options follow."""

    destinations: tuple[Name, ...] = ()
    """Where its snapshots go, by name. Empty: to every destination."""

    allow_incomplete: tuple[str, ...] = ()
    """Patterns, as in .gitignore, of paths as the snapshot has them (`log/app.log` for what is below `/var/log`), which
    may change, vanish or be unreadable while they are captured without making it count as incomplete."""

    window: Window | None = Field(default=None, examples=["22:00-06:00"])
    """When it may be read by a plan that starts by itself, in the time zone at the top. It waits for its window to
    open; where that has closed before a worker takes it, it has failed, and the report says so. What has begun is
    finished, and a run by hand comes at any time."""

    drill: Duration | None = Field(default=None, gt=timedelta(0), examples=["7d"])
    """How often a night also puts back what it stored, into a scratch folder or a scratch server of a host of the pool
    `drill`, and compares it with what was captured; nothing is let go where that fails. It takes as much room there as
    the source. Without it: only by hand, `geometra-backup drill`."""


class TargetSettings(Model):
    """A running server to restore into, and how; each kind of source that lives in a server adds its own options."""

    url: Address
    """The server: its URL, or where one with a password in it is found."""


class DestinationSettings(Model):
    """What every destination has, whatever its kind."""

    kind: str
    """What it is; the kinds and their own options follow."""


class Keep(Model):
    """Retention: what stays. Each rule keeps more, none takes away what another keeps. The newest proven snapshot and
    everything since always stays, and nothing goes before something newer is proven."""

    last: int = Field(default=3, ge=1, strict=True)
    """So many of the newest snapshots."""

    hourly: Count = 0
    """The newest of each hour, for so many hours that have one."""

    daily: Count = 14
    """The newest of each day, in the plan's time zone."""

    weekly: Count = 8
    """The newest of each week, Monday to Sunday."""

    monthly: Count = 12
    """The newest of each month."""

    yearly: Count = 0
    """The newest of each year."""

    within: Duration = timedelta(days=2)
    """Everything younger than this: a number and s, m, h, d or w."""


class PlanSettings(Model):
    """Which sources, when, kept how long."""

    schedule: Schedule | None = Field(default=None, examples=["30 1 * * *"])
    """When it runs by itself: minute, hour, day of month, month, day of week (0 is Sunday), all of which must fit.
    Without it the plan runs only by hand."""

    timezone: TimeZone | None = Field(default=None, examples=["Europe/Berlin"])
    """The time zone of the schedule and of the days, weeks and months in `keep`. Without it: the one above."""

    jitter: Duration = timedelta()
    """It starts later than its schedule by up to so much, always by the same for one plan, host and destinations: many
    installations that share a store or a network do not all start at once."""

    catch_up: Duration = timedelta(hours=1)
    """A start that was missed by more than ten minutes, as beat or the workers were away, is made up for, once however
    many were missed, unless the plan is due again within so long. Longer than the time between two: never made up."""

    sources: tuple[Name, ...] = ()
    """The sources it captures, by name. Empty: all."""

    keep: Keep = Keep()
    """Retention: how many snapshots stay."""

    @field_validator("jitter")
    @classmethod
    def _is_over_before_the_next(cls, jitter: timedelta, info: ValidationInfo) -> timedelta:
        schedule = info.data.get("schedule")
        gap = due.shortest_gap(cron.parse(schedule)) if schedule else None
        if gap is not None and jitter >= gap:
            raise ValueError(f"must be shorter than the time between two starts, which is {in_short(gap)}")
        return jitter


class KeysSettings(Model):
    """The keys that seal the backups. Keep a copy of the recovery sheet elsewhere: without it and without the
    passphrase nobody can read them, this program included."""

    folder: Path = Path("keys")
    """The folder of `keyring.json` (public, copied to every destination) and `writer.key` (a secret of the workers that
    back up; it can't read what they wrote)."""

    passphrase: SecretReference | None = Field(default=None, examples=["env:GEOMETRA_BACKUP_PASSPHRASE"])
    """Opens the private key; needed only where backups are verified, pruned and restored. Without it: the variable
    GEOMETRA_BACKUP_PASSPHRASE, or a person is asked."""


class SigningSettings(Model):
    """Messages between hosts are signed, and workers do only what a certificate that they know has signed."""

    key: Path
    """This host's RSA key, in PEM."""

    certificate: Path
    """Its certificate, in PEM."""

    certificates: Path
    """A folder of everybody's certificates, this host's too, each `*.pem`."""


class Settings(Model):
    """All of backup.toml. Relative paths are taken from the folder that backup.toml lies in."""

    state: Path = Path(".geometra-backup")
    """The folder of this host's spool, caches, logs, reports and embedded broker. What is stored at the destinations
    needs none of it."""

    host: Name = "local"
    """This machine's name to the other workers; it must stay the same, so a container needs it set."""

    timezone: TimeZone = "UTC"
    """The time zone of plans that name none, and of times typed on the command line."""

    broker: SecretReference | None = Field(default=None, examples=["env:GEOMETRA_BACKUP_BROKER"])
    """Where the URL of a Redis for the workers is found (a reference, as the URL may hold a password). Without it a
    private one is started for this machine alone."""

    grace: Duration = Field(default=timedelta(days=3), gt=timedelta(0))
    """How long a prune waits between condemning stored data and deleting it: longer than your longest run."""

    spool_quota: Annotated[Size, at_least("200MB")] = ByteCount(8_000_000_000)
    """About how much the spool of one host may hold. A capture that fills it sends on what it has packed while it goes
    on, and waits for that, so the largest source needs no more room than this."""

    scratch: Path | None = None
    """A folder of each host for what drills put back and remove again, as large as the largest source. Without it: what
    the variable TMPDIR says, or /var/tmp."""

    verify_part_size: Annotated[Size, at_least("1MB")] = ByteCount(8_000_000_000)
    """A verify that has more than this to read is divided into parts of about this size, at most 16, for whichever
    workers of the pool `proof` are free."""

    signing: SigningSettings | None = None
    """Signed messages, for a broker that others can write to: see workers/BROKER.md. All hosts, or none."""

    keys: KeysSettings = KeysSettings()
    """The keys that seal the backups."""

    destinations: dict[Name, SerializeAsAny[DestinationSettings]]
    """Where backups are stored, one table each, named as you like."""

    sources: dict[Name, SerializeAsAny[SourceSettings]]
    """What is backed up, one table each, named as you like."""

    plans: dict[Name, PlanSettings] = Field(default_factory=dict)
    """When which sources are backed up, and how long it is kept, one table each."""

    def destinations_of(self, source: str) -> tuple[str, ...]:
        """The names of the destinations of one source, in the order of the file; the first is its reference."""
        chosen = self.sources[source].destinations
        return tuple(name for name in self.destinations if not chosen or name in chosen)

    def sources_of(self, plan: str) -> tuple[str, ...]:
        return self.plans[plan].sources or tuple(self.sources)

    def window_of(self, source: str) -> due.Window | None:
        """When a source may be begun by itself, in `timezone`; None for at any time."""
        window = self.sources[source].window
        return due.parse_window(window) if window else None

    def zone_of(self, plan: str) -> ZoneInfo:
        return ZoneInfo(self.plans[plan].timezone or self.timezone)
