"""TOML with line numbers."""

from __future__ import annotations

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.configuration.document import Document


def test_an_array_of_tables_is_no_definition_twice() -> None:
    document = Document("[[a]]\nx = 1\n[[a]]\nx = 2\nx = 3\ny = nope")
    assert [(fault.line, fault.key) for fault in document.faults] == [(5, ("a", 1, "x")), (6, ("a", 1, "y"))]


@settings(max_examples=300, deadline=None)
@given(st.text("ab=[]\"'\n.#1{},\\ é\0", max_size=60))
def test_any_text_is_read_or_explained(text: str) -> None:
    document = Document(text)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert document.faults
        assert all(1 <= fault.line <= text.count("\n") + 1 for fault in document.faults)
    else:
        assert (document.data, document.faults) == (data, [])
        for name in data:
            assert document.line((name,)) >= 1


def test_every_key_of_a_file_has_its_line() -> None:
    text = '# c\na = 1\n\nb.c = """\n[no.table]\nx = 1\n"""\n'
    text += '["odd name".t]\nd = [\n  1, 2,\n  # c\n  [3,\n 4],\n]\ne = { f = { g = 1 } }\n'
    document = Document(text)
    lines = {
        ("a",): 2,
        ("b",): 4,
        ("b", "c"): 4,
        ("odd name", "t"): 8,
        ("odd name", "t", "d"): 9,
        ("odd name", "t", "d", 0): 10,
        ("odd name", "t", "d", 1): 10,
        ("odd name", "t", "d", 2): 13,
        ("odd name", "t", "e", "f", "g"): 15,
        ("odd name", "t", "nothing"): 8,
        ("nothing",): 0,
    }
    assert {key: document.line(key) for key in lines} == lines
