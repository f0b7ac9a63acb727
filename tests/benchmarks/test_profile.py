"""The profile says where the time of each step goes: a small one, to see that it still can."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.benchmarks.corpora.corpus import CORPORA
from tests.benchmarks.profile import KINDS, STEPS, counted, profiled, table

RUN = 'process 7:"python -m tests.benchmarks.engine";thread (7): MainThread'
MAIN = f"{RUN};<module> (/x/tests/benchmarks/engine.py:80);main (/x/tests/benchmarks/engine.py:43)"
THREAD = 'process 7:"python";thread (8): packing-0;Thread._bootstrap (/x/lib/python3.11/threading.py:1002)'
LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"


@pytest.mark.parametrize(
    ("stack", "kind"),
    [
        (f"{MAIN};decompress (/x/tasks/repository/zstd.py:40);HUF_decompress (zstd.c:40904)", "zstd"),
        (f"{THREAD};spans (/x/naming.py:40);0x2 (?);0x7f (/x/blake3/blake3.cpython-311.so)", "BLAKE3"),
        (f"{MAIN};together (/x/floats.py:9);take (/x/numpy/_core/_multiarray_umath.so);0x7f ({LIBC})", "NumPy"),
        (f"{THREAD};open (/x/pack.py:1);decrypt (/x/_rust.abi3.so);memcpy ({LIBC})", "AES-GCM"),
        (f"{MAIN};get (/x/local.py:290);os_pread (/x/libpython3.11.so.1.0);pread64 ({LIBC})", "reading"),
        (f"{MAIN};put (/x/local.py:9);write (/x/lib/python3.11/tempfile.py:1);write ({LIBC})", "writing"),
        (f"{MAIN};walk (/x/walk.py:9);os_stat (/x/libpython3.11.so.1.0);fstatat64 ({LIBC})", "other calls"),
        (f"{MAIN};encode (/x/records.py:9);_PyObject_Malloc (/x/libpython3.11.so.1.0)", "Python"),
        (f"{MAIN};_load (<frozen importlib._bootstrap>:9);stat ({LIBC})", "imports"),
        (f"{RUN};<module> (/x/tests/benchmarks/engine.py:3);_load (<frozen importlib._bootstrap>:9)", None),
        (f"{THREAD};get (/x/queue.py:9);PyThread_acquire_lock_timed (/x/libpython3.11.so.1.0);0x7f ({LIBC})", None),
        (f"{THREAD};os_pread (/x/libpython3.11.so.1.0);pthread_cond_timedwait ({LIBC});0x7f ({LIBC})", None),
    ],
)
def test_a_moment_is_what_its_innermost_frames_are_at(stack: str, kind: str | None) -> None:
    assert counted([f"{stack} 3"]) == ({kind: 3} if kind else {})


def test_a_small_profile_has_each_step_with_its_shares_and_its_limits(tmp_path: Path) -> None:
    corpus = CORPORA["page-database"]
    base = corpus.base(tmp_path / "scratch", 0.05, 1)
    (tmp_path / "working").mkdir()
    try:
        found = profiled(corpus, base, tmp_path / "working", scale=0.05, seed=1)
    except subprocess.CalledProcessError as error:
        told = (error.stderr or b"").decode(errors="replace")
        if "ermission" in told or "not permitted" in told:
            pytest.skip("no process may look into another here")
        pytest.fail(told or str(error))
    assert [step.step for step in found] == list(STEPS)
    for step in found:
        assert step.seconds > 0
        assert step.cpu_seconds > 0
        assert step.files > 0
        assert set(step.samples) <= set(KINDS)
    first, restore = found[0].samples, found[3].samples
    assert first["zstd"] > 0
    assert restore["Argon2"] > 0
    assert not list((tmp_path / "working").iterdir())
    lines = table(found)
    assert len(lines) == 2 + len(STEPS)
    assert len({line.count("|") for line in lines}) == 1
