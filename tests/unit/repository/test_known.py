"""What a capture may rely on, beside the index of the same packs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.repository import names, runs
from tasks.repository.index import Index
from tasks.repository.known import Known
from tasks.repository.pack import LISTS, NAME
from tests.unit.repository.test_index import NAMES, PACK, Blocks, made

ASKED = st.lists(NAMES, max_size=8)


@pytest.mark.parametrize(("few", "young"), [(0, 1), (16, 3), (0, 1 << 16), (16, 1 << 16)])
@pytest.mark.parametrize("lists", [False, True])
@given(described=st.lists(PACK, max_size=6), asked=ASKED)
def test_it_knows_what_an_index_knows(
    *, lists: bool, few: int, young: int, described: list[tuple[str, Blocks]], asked: list[bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_YOUNG", young)
        patch.setattr(names, "_FEW", few)
        known, index = Known(lists=lists), Index()
        for number, (kind, blocks) in enumerate(described):
            pack = made(number, kind, blocks)
            known.add(pack)
            known.add(pack)
            if kind == LISTS or not lists:
                index.add(pack, "index/a")
            asked += [bytes(pack.listed.names[at : at + NAME]) for at in range(0, len(pack.listed.names), NAME)]
            # After each of them: what comes later is sorted in among what was there.
            there = [index.find(name) is not None for name in asked]
            assert [known.knows(name) for name in asked] == there
            assert known.has(b"".join(asked)).tolist() == there
            assert known.missing(asked, b"".join(asked)) == [at for at, found in enumerate(there) if not found]
        assert known.packs == {number.to_bytes(NAME, "big") for number in range(len(described))}


def test_what_is_forgotten_is_not_known_any_more() -> None:
    known, pack = Known(), made(1, LISTS, [(100, [(b"k" * NAME, 5)])])
    known.add(pack)
    assert known.knows(b"k" * NAME)
    known.forget()
    assert not known.knows(b"k" * NAME)
    assert known.packs == set()
    known.add(pack)
    assert known.knows(b"k" * NAME)
