"""Amounts as a person reads them."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes in powers of 1000, as disks are sold: `1.5 GB`."""
    value, units = float(count), ("B", "kB", "MB", "GB", "TB", "PB")
    for unit in units:
        if abs(value) < 999.5 or unit == units[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError
