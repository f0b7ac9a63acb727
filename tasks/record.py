"""What the runs came to: the record for truth, in the broker's Redis. Messages may come twice or never; this decides.

Every (run, step) has one outcome, the first that was recorded. Nothing here grows without bound: keys expire, and
texts are cut.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tasks.run_keys import KEPT, check_run, reaching
from tasks.tries import Tries

PARTS_KEPT = timedelta(days=2)
LISTED = 2000
_LONGEST = 400

_BEGIN = """
local known = redis.call('get', KEYS[1])
if ARGV[1] ~= '' and known then return known end
if redis.call('hexists', KEYS[2], 'about') == 1 then return ARGV[2] end
if ARGV[1] ~= '' then redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[5]) end
redis.call('hset', KEYS[2], 'about', ARGV[3], 'alive', ARGV[4])
redis.call('expire', KEYS[2], ARGV[5])
redis.call('zadd', KEYS[3], ARGV[4], ARGV[2])
redis.call('zremrangebyrank', KEYS[3], 0, -1 - tonumber(ARGV[6]))
return ARGV[2]
"""


def step_name(verb: str, source: str = "", destination: str = "", part: str = "") -> str:
    """A step's name within its run, such as `upload/models/offsite`; one that is shared has parts, `part` of which is a
    number from 1 on: `backup/models/part-2`."""
    return "/".join(each for each in (verb, source, destination, f"part-{part}" if part else "") if each)


class Step(NamedTuple):
    """What the name of a step says."""

    verb: str
    source: str = ""
    destination: str = ""

    @classmethod
    def of(cls, name: str) -> Step:
        """Of a run's own steps; of a part's name no more than verb and source are told apart."""
        return cls(*name.split("/")[:3])


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a plan. `steps` are the names of all that its report waits for; `slot` is what makes it unique
    among the runs of its plan, empty for one started by hand."""

    id: str
    plan: str
    slot: str
    started: datetime
    steps: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"started": self.started.isoformat()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Run:
        started = datetime.fromisoformat(data["started"])
        return cls(data["id"], data["plan"], data["slot"], started, tuple(data["steps"]))


@dataclass(frozen=True, slots=True)
class Life:
    """By source, and by an empty name of the whole run: when it last gave a sign of life, and how often its messages
    were sent again."""

    signs: Mapping[str, datetime]
    resumed: Mapping[str, int]


class Record(Tries):
    """Every method raises `Unavailable` where the broker does not answer. Safe in threads and after a fork."""

    # Runs

    def begin(self, run: Run) -> Run:
        """Record a run; if its plan has one for that slot already, or there is one of that id, return that instead."""
        about = json.dumps(run.to_json())
        keys = [self._key("slot", run.plan, run.slot), self._key("run", check_run(run.id)), self._key("runs")]
        limits = (int(KEPT.total_seconds()), LISTED)
        with reaching():
            started = run.started.timestamp()
            known = self._redis.eval(_BEGIN, len(keys), *keys, run.slot, run.id, about, started, *limits)
        return self.run(str(known)) or run

    def has_slot(self, plan: str, slot: str) -> bool:
        """Whether a plan has a run for that slot."""
        with reaching():
            return bool(self._redis.exists(self._key("slot", plan, slot)))

    def run(self, run: str) -> Run | None:
        with reaching():
            about = self._redis.hget(self._key("run", check_run(run)), "about")
        return Run.from_json(json.loads(about)) if about else None

    def runs(self, limit: int = 50) -> list[Run]:
        """The newest runs first."""
        with reaching():
            names = self._redis.zrevrange(self._key("runs"), 0, limit - 1)
        return [run for name in names if (run := self.run(str(name)))]

    def unfinished(self) -> list[Run]:
        """All that have no report, however many have begun since; the newest first."""
        with reaching():
            names = [str(name) for name in self._redis.zrevrange(self._key("runs"), 0, -1)]
            with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.exists(self._key("report", name))
                reported = pipe.execute()
        left = [name for name, is_reported in zip(names, reported, strict=True) if not is_reported]
        return [run for name in left if (run := self.run(name))]

    def mark_sent(self, run: str) -> None:
        """The run's messages are with the broker; a second start of it sends none."""
        self._set(run, {"sent": "1"})

    def is_sent(self, run: str) -> bool:
        with reaching():
            return bool(self._redis.hexists(self._key("run", check_run(run)), "sent"))

    def touch(self, run: str, now: datetime | None = None, *, step: str = "") -> None:
        """A sign of life, of a step's source too; by the broker's clock, as who looks for it goes by that."""
        stamp = repr((now or self.now()).timestamp())
        source = Step.of(step).source
        self._set(run, {"alive": stamp} | ({f"alive {source}": stamp} if source else {}))

    def take(self, run: str, step: str, token: str, seconds: float) -> int | None:
        """See `Tries.take`; it is a sign of life."""
        lost = super().take(run, step, token, seconds)
        if lost is not None:
            self.touch(run, step=step)
        return lost

    def life(self, run: str) -> Life:
        fields = self._fields(run)
        alive = {name: float(text) for name, text in fields.items() if name.split(" ")[0] == "alive"}
        resumed = {name: int(text) for name, text in fields.items() if name.split(" ")[0] == "resumed"}
        return Life(
            {name.partition(" ")[2]: datetime.fromtimestamp(stamp, UTC) for name, stamp in alive.items()},
            {name.partition(" ")[2]: times for name, times in resumed.items()},
        )

    def count_resumption(self, run: str, source: str = "") -> None:
        with reaching():
            self._redis.hincrby(self._key("run", check_run(run)), f"resumed {source}".rstrip(), 1)

    # Outcomes, as the JSON that crosses the broker

    def settle(self, run: str, step: str, outcome: dict[str, Any]) -> dict[str, Any]:
        """Record a step's outcome, unless it has one. Returns the one that is recorded."""
        text = json.dumps(_cut(outcome))
        key = self._key("outcomes", check_run(run))
        with reaching(), self._redis.pipeline() as pipe:
            pipe.hsetnx(key, step, text)
            pipe.hget(key, step)
            pipe.expire(key, KEPT)
            recorded = pipe.execute()[1]
        self.touch(run, step=step)
        return dict(json.loads(recorded))

    def outcome(self, run: str, step: str) -> dict[str, Any] | None:
        with reaching():
            text = self._redis.hget(self._key("outcomes", check_run(run)), step)
        return dict(json.loads(text)) if text else None

    def outcomes(self, run: str) -> dict[str, dict[str, Any]]:
        with reaching():
            texts = self._redis.hgetall(self._key("outcomes", check_run(run)))
        return {str(step): json.loads(text) for step, text in texts.items()}

    # Sources that are divided, and what their parts came to, sealed

    def keep_part(self, run: str, name: str, data: bytes) -> bytes:
        """Keep something by that name, unless there is something. Returns what is kept."""
        key = self._key("parts", check_run(run))
        with reaching(), self._redis.pipeline() as pipe:
            pipe.hsetnx(key, name, b64encode(data).decode())
            pipe.hget(key, name)
            pipe.expire(key, PARTS_KEPT)
            return b64decode(pipe.execute()[1])

    def part(self, run: str, name: str) -> bytes | None:
        with reaching():
            text = self._redis.hget(self._key("parts", check_run(run)), name)
        return b64decode(text) if text else None

    def missing(self, run: Run) -> tuple[str, ...]:
        """The steps that have no outcome yet."""
        known = self.outcomes(run.id)
        return tuple(step for step in run.steps if step not in known)

    # Progress and the report

    def progress(self, run: str) -> dict[str, dict[str, float]]:
        """The last figures of every step that told any; `at` is when, in seconds since the epoch."""
        with reaching():
            texts = self._redis.hgetall(self._key("progress", check_run(run)))
        return {str(step): json.loads(text) for step, text in texts.items()}

    def tell(self, run: str, step: str, figures: dict[str, float]) -> None:
        key = self._key("progress", check_run(run))
        with reaching(), self._redis.pipeline() as pipe:
            pipe.hset(key, step, json.dumps(figures | {"at": datetime.now(UTC).timestamp()}))
            pipe.expire(key, KEPT)
            pipe.execute()

    def note(self, run: str, step: str, text: str) -> None:
        """Why a step waits, for whoever watches the run."""
        self._set(run, {f"note {step}": text[:_LONGEST]})

    def notes(self, run: str) -> dict[str, str]:
        """The last note on every step that has one."""
        fields = self._fields(run)
        return {name.removeprefix("note "): text for name, text in fields.items() if name.startswith("note ")}

    def keep_report(self, run: str, report: dict[str, Any]) -> dict[str, Any]:
        """Record a run's report, unless it has one. Returns the one that is recorded."""
        key = self._key("report", check_run(run))
        with reaching():
            self._redis.set(key, json.dumps(report), ex=KEPT, nx=True)
            return dict(json.loads(self._redis.get(key) or "{}"))

    def report(self, run: str) -> dict[str, Any] | None:
        """The run's report; None while it is not finished."""
        with reaching():
            text = self._redis.get(self._key("report", check_run(run)))
        return dict(json.loads(text)) if text else None

    def has_report(self, run: str) -> bool:
        with reaching():
            return bool(self._redis.exists(self._key("report", check_run(run))))

    def _fields(self, run: str) -> dict[str, str]:
        with reaching():
            # The client decodes, which its types do not know.
            fields: dict[str, str] = self._redis.hgetall(self._key("run", check_run(run)))  # type: ignore[assignment]
        return fields

    def _set(self, run: str, fields: Mapping[str, str]) -> None:
        key = self._key("run", check_run(run))
        with reaching(), self._redis.pipeline() as pipe:
            pipe.hset(key, items=[each for pair in fields.items() for each in pair])
            pipe.expire(key, KEPT)
            pipe.execute()


def _cut(outcome: dict[str, Any]) -> dict[str, Any]:
    flaws = [flaw[:_LONGEST] for flaw in outcome.get("flaws", ())][:100]
    failure = outcome.get("failure")
    if failure:
        failure = failure | {"message": failure["message"][: 2 * _LONGEST]}
    return outcome | {"flaws": flaws, "failure": failure}
