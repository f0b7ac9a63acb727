"""Patterns in gitignore style, compared with what git itself says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.sources.patterns import Patterns

LINES = [
    ["*.pyc"],
    ["*.pyc", "!keep.pyc"],
    ["/top"],
    ["build/"],
    ["a/b"],
    ["a/**/z"],
    ["**/cache"],
    ["data/*.csv", "!data/one.csv"],
    ["# comment", "", "x y"],
    ["[ab].txt"],
    ["\\#name", "\\!name"],
    ["*"],
    ["*", "!*.py", "!*/"],
    ["ä*"],
    ["trailing  "],
    ["a/**/"],
    ["**/a/**/ "],
    ["/**/"],
    ["**/"],
]
FILES = [
    *(
        "a.pyc",
        "keep.pyc",
        "top",
        "sub/top",
        "build",
        "sub/build",
        "a/b",
        "c/a/b",
        "a/z",
        "a/b/c/z",
        "cache",
        "x/cache",
    ),
    *("data/one.csv", "data/two.csv", "x y", "a.txt", "c.txt", "#name", "!name", "main.py", "ähnlich", "trailing"),
]


@pytest.mark.needs("git")
@pytest.mark.parametrize("lines", LINES, ids=" ".join)
def test_files_are_matched_as_git_matches_them(tmp_path: Path, lines: list[str]) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["git", "check-ignore", "--no-index", "--stdin", "-z"]
    tried = subprocess.run(command, cwd=tmp_path, input="\0".join(FILES).encode(), capture_output=True, check=False)
    ignored = {name.decode() for name in tried.stdout.split(b"\0") if name}
    patterns = Patterns(lines)
    assert {name for name in FILES if patterns.match(name.encode())} == ignored


def test_a_slash_at_the_end_is_for_folders_only() -> None:
    patterns = Patterns(["build/"])
    assert patterns.match(b"build", folder=True)
    assert patterns.match(b"sub/build", folder=True)
    assert not patterns.match(b"build")


@pytest.mark.parametrize("name", [b"\xff\xfe.pyc", b"new\nline.pyc", b"folder\n/x.pyc", b"\xf0\x9f\x98\x80.pyc"])
def test_names_of_any_bytes_are_matched(name: bytes) -> None:
    assert Patterns(["*.pyc"]).match(name)
    assert not Patterns(["*.txt"]).match(name)


@pytest.mark.parametrize("name", ["größe.md".encode(), b"\xff\xfe.md"])
def test_what_was_typed_in_the_locale_c_is_taken_for_its_bytes(name: bytes) -> None:
    """Python has each byte that it can't read there as a letter of its own."""
    patterns = Patterns([(b"docs/" + name).decode("ascii", "surrogateescape")])
    assert patterns.match(b"docs/" + name)
    assert not patterns.match(b"docs/other.md")


def test_a_newline_at_the_end_of_a_name_is_part_of_the_name() -> None:
    assert not Patterns(["*.pyc"]).match(b"a.pyc\n")


def test_the_last_line_that_matches_decides_whatever_lies_between() -> None:
    patterns = Patterns(["*.pyc", "", "# comment", "!keep.pyc"])
    assert patterns.match(b"a.pyc")
    assert not patterns.match(b"keep.pyc")
    assert not patterns.match(b"a.py")
    assert not patterns.match(b"# comment")


@pytest.mark.parametrize("line", ["!", "\\", "[z-a]", "[a-?c]x"])
def test_a_line_that_is_no_pattern_is_refused_by_name(line: str) -> None:
    with pytest.raises(ValueError, match="is no pattern in gitignore style"):
        Patterns(["*.pyc", line])


def test_no_lines_match_nothing() -> None:
    assert not Patterns([])
    assert not Patterns([]).match(b"a")


@pytest.mark.parametrize(
    ("lines", "reach"),
    [
        ([], set()),
        (["/a"], {b"a"}),
        (["a/b/", "!a/b/c"], {b"a/b"}),
        (["/a b/x", "/\xe4/*.gz"], None),
        (["/\xe4/*.gz", "a/b*/c", "x/**"], {b"\xc3\xa4", b"a", b"x"}),
        (["/\udcff/x"], {b"\xff/x"}),
        *(
            ([line], None)
            for line in ("a", "a/", "a/ ", "a/\t", " /a", "*/a", "/a*", "**/a", "/\\a", "/[a]", "", "#a/b", "a//")
        ),
        (["/a", "*.gz"], None),
    ],
)
def test_lines_that_are_tied_to_the_top_say_below_which_names_all_lies(
    lines: list[str], reach: set[bytes] | None
) -> None:
    assert Patterns(lines).reach == reach


@pytest.mark.parametrize("lines", LINES, ids=" ".join)
def test_nothing_is_matched_that_is_out_of_reach(lines: list[str]) -> None:
    patterns = Patterns(lines)
    found = [name.encode() for name in FILES if patterns.match(name.encode())]
    reach = patterns.reach
    assert reach is None or all(any((name + b"/").startswith(top + b"/") for top in reach) for name in found)
