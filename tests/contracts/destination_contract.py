"""What every destination promises. Subclass `DestinationContract`, supply `destination`, and all of it is tested."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.destinations.destination import Data, Destination
from tasks.errors import Damaged, Exists, Missing, Refused
from tests.contracts.destination_listing import DestinationListing
from tests.contracts.destination_processes import DestinationProcesses

MIB = 1 << 20

BAD_NAMES = [
    "",
    "/",
    "/etc/passwd",
    "a/",
    "/a",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    ".tmp/a",
    "a/.hidden",
    "a b",
    "a\\b",
    "a\n",
    "a\0b",
    "é",
    "a:b",
    "a" * 201,
    "/".join(["a" * 200] * 5),
]


class DestinationObjects:
    """Single objects: put, get, delete."""

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_what_was_put_comes_back_byte_for_byte(
        self, destination: Destination, kind: Callable[[bytes], Data]
    ) -> None:
        content = random.Random(1).randbytes(MIB + 7)
        destination.put("packs/0a/one", kind(content))
        assert destination.get("packs/0a/one") == content

    def test_a_part_of_a_buffer_is_stored_as_just_that_part(self, destination: Destination) -> None:
        destination.put("part", memoryview(bytearray(b"0123456789"))[3:7])
        assert destination.get("part") == b"3456"

    def test_an_empty_object_is_stored_and_listed(self, destination: Destination) -> None:
        destination.put("empty", b"")
        assert destination.get("empty") == b""
        assert [tuple(each) for each in destination.list()] == [("empty", 0)]

    def test_a_large_object_comes_back_whole_and_in_parts(self, destination: Destination) -> None:
        content = os.urandom(64 * MIB)
        destination.put("large", content)
        assert destination.get("large") == content
        assert destination.get("large", 40 * MIB + 1, 3 * MIB) == content[40 * MIB + 1 : 43 * MIB + 1]

    @pytest.mark.parametrize("size", [0, 5, 9 * MIB + 1])
    def test_a_file_is_stored_and_left_as_it_was(self, destination: Destination, tmp_path: Path, size: int) -> None:
        content = random.Random(size).randbytes(size)
        file = tmp_path / "finished"
        file.write_bytes(content)
        destination.put("packs/file", file)
        assert destination.get("packs/file") == content
        assert file.read_bytes() == content
        file.unlink()
        assert destination.get("packs/file") == content

    def test_a_file_is_sent_without_a_copy_of_it_in_memory(self, destination: Destination, tmp_path: Path) -> None:
        file = tmp_path / "pack"
        with file.open("wb") as pack:
            pack.writelines(os.urandom(MIB) for _ in range(34))
        destination.put("first", b"what comes first brings the SDK with it")
        tracemalloc.start()
        try:
            destination.put("pack", file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * MIB
        assert destination.get("pack") == file.read_bytes()

    @pytest.mark.parametrize("part", [(0, None), (MIB, 8 * MIB)], ids=["whole", "a part"])
    def test_what_is_read_is_held_with_at_most_one_copy_beside_it(
        self, destination: Destination, tmp_path: Path, part: tuple[int, int | None]
    ) -> None:
        (tmp_path / "pack").write_bytes(content := os.urandom(12 * MIB))
        destination.put("pack", tmp_path / "pack")
        destination.get("pack", 0, 1)
        tracemalloc.start()
        try:
            read = destination.get("pack", *part)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert read == content[part[0] :][: part[1]]
        assert peak < 2 * len(read) + MIB

    def test_what_is_larger_than_anything_that_is_stored_is_not_read_whole(
        self, destination: Destination, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever owns the place may put there what he likes; memory is what it would take."""
        destination.put("index/0", content := os.urandom(12 * MIB))
        destination.get("index/0", 0, 1)
        monkeypatch.setattr("tasks.destinations.destination.GREATEST_OBJECT", 12 * MIB - 1)
        monkeypatch.setattr("tasks.destinations.azure.WHOLE_BYTES", MIB)  # its first part tells how large the whole is
        tracemalloc.start()
        try:
            with pytest.raises(Damaged, match=r"index/0.* more than anything"):
                destination.get("index/0")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * MIB
        assert destination.get("index/0", MIB, 10) == content[MIB:][:10]

    def test_the_longest_names_can_be_stored(self, destination: Destination) -> None:
        name = "/".join(["0" * 200, "a" * 200, "-" * 200, "_" + "." * 199])
        destination.put(name, b"x")
        assert destination.get(name) == b"x"
        assert [each.name for each in destination.list()] == [name]

    @pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:12]))
    def test_a_bad_name_is_refused_everywhere_and_leaves_nothing(self, destination: Destination, name: str) -> None:
        with pytest.raises(Refused):
            destination.put(name, b"x")
        with pytest.raises(Refused):
            destination.get(name)
        with pytest.raises(Refused):
            destination.delete(name)
        assert list(destination.list()) == []

    def test_a_name_is_never_stored_twice(self, destination: Destination, tmp_path: Path) -> None:
        (tmp_path / "second").write_bytes(b"second")
        destination.put("once", b"first")
        for second in (b"second", b"first", b"", tmp_path / "second"):
            with pytest.raises(Exists, match="once"):
                destination.put("once", second)
            assert destination.get("once") == b"first"

    def test_the_same_file_is_not_stored_twice_by_one_name(self, destination: Destination, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"content")
        destination.put("once", tmp_path / "file")
        with pytest.raises(Exists):
            destination.put("once", tmp_path / "file")
        destination.put("twice", tmp_path / "file")
        assert destination.get("once") == destination.get("twice") == b"content"

    @pytest.mark.parametrize(("offset", "length"), [(0, None), (0, 0), (0, 1), (7, 3), (7, 0), (7, None)])
    def test_what_is_not_there_is_missing(self, destination: Destination, offset: int, length: int | None) -> None:
        destination.put("packs/0a/one", b"x")
        for name in ("nothing", "packs", "packs/0a", "packs/0a/on", "packs/0a/one/more", "other/0a/one"):
            with pytest.raises(Missing, match=name):
                destination.get(name, offset, length)

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (0, 10, b"0123456789"),
            (0, 1, b"0"),
            (9, 1, b"9"),
            (4, 3, b"456"),
            (4, None, b"456789"),
            (0, 0, b""),
            (5, 0, b""),
            (10, 0, b""),
            (10, None, b""),
        ],
    )
    def test_a_range_is_exactly_those_bytes(
        self, destination: Destination, offset: int, length: int | None, expected: bytes
    ) -> None:
        destination.put("digits", b"0123456789")
        assert destination.get("digits", offset, length) == expected

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (11, 0), (11, 1), (11, None), (99, 99)])
    def test_a_range_past_the_end_is_damage(self, destination: Destination, offset: int, length: int | None) -> None:
        destination.put("digits", b"0123456789")
        with pytest.raises(Damaged, match="digits"):
            destination.get("digits", offset, length)

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (-1, 1), (0, -1), (-5, -5)])
    def test_a_negative_range_is_refused(self, destination: Destination, offset: int, length: int | None) -> None:
        destination.put("digits", b"0123456789")
        with pytest.raises(Refused, match="digits"):
            destination.get("digits", offset, length)

    def test_an_empty_object_has_an_empty_range_only(self, destination: Destination) -> None:
        destination.put("empty", b"")
        assert destination.get("empty", 0, 0) == b""
        with pytest.raises(Damaged):
            destination.get("empty", 0, 1)
        with pytest.raises(Damaged):
            destination.get("empty", 1)

    def test_sixteen_threads_share_one_client(self, destination: Destination) -> None:
        contents = {f"threads/{n % 3}/{n}": random.Random(n).randbytes(n * 9973) for n in range(160)}

        def store_and_read(name: str) -> bool:
            destination.put(name, contents[name])
            return destination.get(name) == contents[name] and destination.get(name, 1, 0) == b""

        with ThreadPoolExecutor(16) as threads:
            names = [name for name in contents if contents[name]]
            assert all(threads.map(store_and_read, names))
            assert all(threads.map(lambda name: destination.get(name) == contents[name], names * 2))
        assert [tuple(each) for each in destination.list()] == sorted((name, len(contents[name])) for name in names)

    def test_sixteen_threads_that_put_one_name_have_one_winner(self, destination: Destination) -> None:
        def attempt(number: int) -> int | None:
            try:
                destination.put("contested", bytes([number]) * 100_000)
            except Exists:
                return None
            return number

        with ThreadPoolExecutor(16) as threads:
            (winner,) = (number for number in threads.map(attempt, range(16)) if number is not None)
        assert destination.get("contested") == bytes([winner]) * 100_000


class DestinationDeletion:
    """Apart from the rest, for a view may refuse to delete."""

    def test_a_deleted_object_is_gone_and_its_name_is_free(self, destination: Destination) -> None:
        for name in ("a/1", "a/2", "a/3"):
            destination.put(name, b"old")
        destination.delete("a/2")
        with pytest.raises(Missing):
            destination.get("a/2")
        assert [each.name for each in destination.list("a/")] == ["a/1", "a/3"]
        destination.put("a/2", b"new")
        assert destination.get("a/2") == b"new"
        assert destination.get("a/1") == b"old"

    def test_deleting_what_is_not_there_is_missing(self, destination: Destination) -> None:
        destination.put("a/1", b"")
        destination.put("a/2", b"")
        destination.delete("a/1")
        for name in ("a/1", "a", "a/2/more", "b", "b/1"):
            with pytest.raises(Missing, match=name):
                destination.delete(name)
        assert [each.name for each in destination.list()] == ["a/2"]

    def test_all_objects_of_a_folder_can_be_deleted(self, destination: Destination) -> None:
        destination.put("folder/only", b"x")
        destination.delete("folder/only")
        assert list(destination.list()) == []
        assert list(destination.list("folder/")) == []
        destination.put("folder/only", b"y")
        assert destination.get("folder/only") == b"y"

    def test_what_stays_is_listed_while_others_are_deleted(self, destination: Destination) -> None:
        names = [f"{n % 10}/{n:03}" for n in range(200)]
        for name in names:
            destination.put(name, b"")
        listing = destination.list()
        seen = [next(listing).name]
        going = names[3::7]
        for name in going:
            destination.delete(name)
        seen += [each.name for each in listing]
        assert seen == sorted(seen)
        assert set(names) - set(going) <= set(seen) <= set(names)


class DestinationContract(DestinationObjects, DestinationListing, DestinationDeletion, DestinationProcesses):
    @pytest.fixture
    def destination(self) -> Destination:
        """An empty one; what it stores goes away with the test."""
        raise NotImplementedError("a test of a destination supplies the fixture `destination`")

    @pytest.fixture
    def reopen(self, destination: Destination) -> Callable[[], Destination]:
        """Makes another client of the same store, in a child of its own; without it, the child uses its parent's."""
        return lambda: destination
