"""What `restore` says that it has done."""

from __future__ import annotations

from workers.cli.restore import restored


def test_where_a_server_was_given_a_part_not_all_items_are_said_to_be_restored() -> None:
    figures = {"items": 25.0, "restored_bytes": 122_000.0, "seconds": 0.7}
    assert restored("20261129T204555Z-7b0beac8", figures, some=True) == (
        "Restored what `-o` says of 20261129T204555Z-7b0beac8 (25 items, 122 kB in all) in 0.7 s"
    )
    assert restored("20261129T204555Z-7b0beac8", figures, some=False) == (
        "Restored 25 items, 122 kB, of 20261129T204555Z-7b0beac8 in 0.7 s"
    )
    assert "1 item, " in restored("20261129T204555Z-7b0beac8", figures | {"items": 1}, some=False)
