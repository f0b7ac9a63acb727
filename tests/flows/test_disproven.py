"""What was proven once and is found damaged later counts as proven no more, whichever snapshot was verified."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.errors import Damaged, Refused
from tasks.installation import Installation
from tasks.prune import plan_pruning
from tasks.repository import Scope
from tasks.verify import verify
from tests.flows.test_verbs import NOW, install, installed, night

__all__ = ["installed"]

STRICT = '[plans.nightly.keep]\nlast = 1\ndaily = 0\nweekly = 0\nmonthly = 0\nwithin = "0s"\n'


def proven(installed: Installation) -> dict[str, bool]:
    return {name: found[-1].good for name, found in installed.repository("docs", "here").proofs().items()}


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def proven_nights(installed: Installation) -> list[str]:
    """The second one holds a file that the others do not."""
    made = []
    passing = installed.settings.state.parent / "originals/docs/passing.bin"
    for days_ago in (3, 2, 1):
        if days_ago == 2:
            passing.write_bytes(random.Random(1).randbytes(500_000))
        else:
            passing.unlink(missing_ok=True)
        made.append(night(installed, days_ago, "here").snapshot)
        verify(installed, "docs", "here", made[-1])
    return made


def test_what_a_verify_of_the_newest_finds_damaged_makes_room_for_nothing(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack that holds the passing file rots, and has its turn to be read."""
    whole, suffering, newest = proven_nights(installed)
    folder, repository = installed.settings.state.parent, installed.repository("docs", "here")
    packs = [folder / "here/docs/packs" / name[:2] / name for name in repository.snapshot(suffering).packs]
    spoil(max(packs, key=lambda path: path.stat().st_size))
    monkeypatch.setattr(Scope, "_has_turn", lambda _self, _pack: True)
    for _ in range(2):
        with pytest.raises(Damaged, match=rf"prune docs --forget ID` lets go what stays damaged of {suffering}$"):
            verify(installed, "docs", "here")
    assert proven(installed) == {whole: True, suffering: False, newest: False}
    assert len(repository.proofs()[suffering]) == 2, "a second bad proof says no more than the first"
    judged = plan_pruning(install(folder, STRICT), "docs", "here", NOW).judgements
    assert [each.snapshot.id for each in judged if each.keep] == [whole, suffering, newest]


def test_an_index_object_that_is_made_anew_disproves_no_older_snapshot(installed: Installation) -> None:
    first, second, newest = proven_nights(installed)
    for index in (installed.settings.state.parent / "here/docs/index").rglob("*"):
        spoil(index)
    with pytest.raises(Damaged, match="indexed anew"):
        verify(installed, "docs", "here")
    assert proven(installed) == {first: True, second: True, newest: False}
    verify(installed, "docs", "here")
    assert proven(installed) == {first: True, second: True, newest: True}


def test_a_proven_snapshot_that_can_be_read_no_more_is_let_go_by_name(installed: Installation) -> None:
    """It stopped every prune, and was proven, so that nobody might let it go."""
    rotten, kept, _ = proven_nights(installed)
    spoil(installed.settings.state.parent / "here/docs/snapshots" / rotten)
    with pytest.raises(Damaged, match=rotten):
        plan_pruning(installed, "docs", "here", NOW)
    assert plan_pruning(installed, "docs", "here", NOW, named=[rotten]).plan.forget == (rotten,)
    with pytest.raises(Refused, match="is proven"):
        plan_pruning(installed, "docs", "here", NOW, named=[rotten, kept])


def test_a_proven_snapshot_whose_list_is_lost_is_let_go_by_name_once_a_verify_has_found_it(
    installed: Installation,
) -> None:
    first, *_ = proven_nights(installed)
    folder, repository = installed.settings.state.parent, installed.repository("docs", "here")
    for name in repository.snapshot(first).packs:
        (folder / "here/docs/packs" / name[:2] / name).unlink()
    with pytest.raises(Damaged, match="run `verify` first"):
        plan_pruning(installed, "docs", "here", NOW)
    with pytest.raises(Damaged):
        verify(installed, "docs", "here")
    assert plan_pruning(installed, "docs", "here", NOW, named=repository.snapshot_ids()).plan.forget
