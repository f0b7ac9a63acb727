"""Every option, as text for people and as a schema for editors, out of the models themselves."""

from __future__ import annotations

import json
import re

from tasks.configuration import reference, schema
from tasks.configuration.kinds import destination_kinds, source_kinds, target_kinds
from tasks.configuration.reference import options
from tasks.model import Model
from tasks.settings import Keep, KeysSettings, PlanSettings, Settings


def test_the_reference_names_every_option_of_every_kind_with_its_default_and_text() -> None:
    text = " ".join(reference().split())
    models: list[type[Model]] = [Settings, KeysSettings, PlanSettings, Keep]
    for model in (*models, *destination_kinds().values(), *source_kinds().values()):
        for option in options(model):
            assert option.text, f"{model.__name__}.{option.name} has no text"
            assert option.text in text
            assert f"{option.name}: {option.what}; " in text
    assert 'state: a path; default ".geometra-backup"' in text
    assert "broker: `env:NAME` or `file:PATH`; not set" in text
    assert "path: a path; needed" in text
    assert max(len(line) for line in reference().split("\n")) <= 110


def test_the_reference_names_every_option_of_a_restore_into_a_server_as_it_is_typed() -> None:
    texts = {
        kind: " ".join(reference().split(f'VALUE, where kind = "{kind}"')[1].split("geometra-backup")[0].split())
        for kind in target_kinds()
    }
    for kind, target in target_kinds().items():
        for option in options(target):
            assert (f"{option.name}: {option.what}; " in texts[kind]) is (option.name != "url")
            assert option.text
            assert option.name == "url" or option.text in texts[kind]
    assert "keys: a list, each text; " in texts["redis"]
    assert "as: text; " in texts["postgres"]
    assert "as: text; " in texts["chroma"]


def test_the_editors_schema_holds_what_the_loader_accepts() -> None:
    whole = json.loads(json.dumps(schema()))
    kinds = {
        one["properties"]["kind"]["const"] for one in whole["properties"]["sources"]["additionalProperties"]["anyOf"]
    }
    assert kinds == set(source_kinds())
    references = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(whole)))
    assert references <= set(whole["$defs"])
    assert whole["properties"]["grace"]["pattern"]
    assert whole["additionalProperties"] is False
    for noun in ("sources", "destinations"):
        for one in whole["properties"][noun]["additionalProperties"]["anyOf"]:
            assert all(option.get("description") for name, option in one["properties"].items() if name != "kind")
