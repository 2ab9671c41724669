"""A change to a flag file is that change, and no other character."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from chalicelib.errors import FlagNotFound, InvalidRequest, LaunchDarklyUnreachable
from chalicelib.flag_file.editing import FlagChange, change_flag, with_change
from chalicelib.flag_file.reading import data_set_of
from chalicelib.flag_file.text import FlagFileError, parse

JSON = """{
  "flags": {
    "other": {"key": "other", "on": false, "version": 1, "variations": [1, 2]},
    "shiny" : {
        "key": "shiny", "version": 7,
\t"on"  :  true ,
        "fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 100000}]}},
        "offVariation": 1,
        "variations": ["ä", {"on": false}]
    }
  }
}
"""
YAML = """# The flags of the shop.
flags:
  other: {key: other, on: no, variations: [1, 2]}
  shiny:
    key: shiny
    version: 7   # counted
    on: yes
    fallthrough:
      rollout:
        variations:
          - {variation: 0, weight: 100000}

    # The off variation is safe.
    offVariation: 1
    variations:
      - ä
      - {on: false}
segments: {}
"""
FLOW = "{flags: {shiny: {key: shiny, version: 7, on: yes, variations: [a, b]}}}"
BARE = '{"flags":{"shiny":{"key":"shiny","variations":[1,2]}}}'
BARE_YAML = "flags:\n  shiny:\n    key: shiny\n    variations: [1, 2]\n"

OFF, SECOND = FlagChange(on=False), FlagChange(fallthrough=1)
CASES: dict[str, tuple[str, FlagChange, list[tuple[str, str]]]] = {
    "off": (JSON, OFF, [('"version": 7', '"version": 8'), ('"on"  :  true', '"on"  :  false')]),
    "a default rule": (
        JSON,
        SECOND,
        [
            ('"version": 7', '"version": 8'),
            ('{"rollout": {"variations": [{"variation": 0, "weight": 100000}]}}', '{"variation": 1}'),
        ],
    ),
    "an off variation": (
        JSON,
        FlagChange(off_variation=0),
        [('"version": 7', '"version": 8'), ('"offVariation": 1', '"offVariation": 0')],
    ),
    "what is so already": (JSON, FlagChange(on=True, off_variation=1), []),
    "off, in YAML": (YAML, OFF, [("version: 7", "version: 8"), ("on: yes", "on: false")]),
    "a default rule, in YAML": (
        YAML,
        SECOND,
        [
            ("version: 7", "version: 8"),
            ("rollout:\n        variations:\n          - {variation: 0, weight: 100000}\n", '{"variation": 1}\n'),
        ],
    ),
    "in a line of YAML": (FLOW, OFF, [("version: 7", "version: 8"), ("on: yes", "on: false")]),
    "fields that are not there": (
        BARE,
        FlagChange(on=True),
        [('{"key":"shiny"', '{"version": 2,"on": true,"key":"shiny"')],
    ),
    "fields that are not there, in YAML": (
        BARE_YAML,
        FlagChange(on=True),
        [("    key", '    "version": 2\n    "on": true\n    key')],
    ),
    "Windows lines": (
        JSON.replace("\n", "\r\n"),
        OFF,
        [('"version": 7', '"version": 8'), ('"on"  :  true', '"on"  :  false')],
    ),
}


@pytest.mark.parametrize(("text", "change", "expected"), CASES.values(), ids=CASES)
def test_a_change_leaves_the_rest_as_it_is(text: str, change: FlagChange, expected: list[tuple[str, str]]) -> None:
    changed = text
    for before, after in expected:
        assert before in changed
        changed = changed.replace(before, after, 1)
    assert with_change(text, "shiny", change) == changed
    assert parse(changed).value["flags"].keys() == parse(text).value["flags"].keys()


def test_fields_are_added_in_a_pretty_file_in_lines_of_their_own() -> None:
    text = json.dumps(json.loads(BARE), indent=2)
    changed = with_change(text, "shiny", FlagChange(on=True))
    assert changed == text.replace('"key"', '"version": 2,\n      "on": true,\n      "key"')


def test_a_flag_is_found_by_its_key() -> None:
    text = '{"flags": {"a": {"key": "shiny", "variations": [1, 2], "on": true}}}'
    assert '"on": false' in with_change(text, "shiny", OFF)
    with pytest.raises(FlagNotFound):
        with_change(text, "a", OFF)


def test_a_flag_that_is_deleted_is_not_the_one_of_its_key() -> None:
    text = '{"flags": {"a": {"key": "shiny", "deleted": true, "on": true}, "b": {"key": "shiny", "on": true}}}'
    changed = json.loads(with_change(text, "shiny", OFF))["flags"]
    assert {name: flag["on"] for name, flag in changed.items()} == {"a": True, "b": False}


REFUSED: dict[str, tuple[str, FlagChange, type[Exception], str]] = {
    "no such flag": ("flagValues: {}", OFF, FlagNotFound, "There is no flag 'shiny' in the file."),
    "a deleted flag": (
        '{"flags": {"shiny": {"key": "shiny", "deleted": true}}}',
        OFF,
        FlagNotFound,
        "There is no flag 'shiny' in the file.",
    ),
    "a plain value": ("flagValues: {shiny: 1}", OFF, InvalidRequest, "one of flagValues"),
    "no such variation": (JSON, FlagChange(fallthrough=2), InvalidRequest, "There is no variation 2; the flag has 2"),
    "a negative one": (JSON, FlagChange(off_variation=-1), InvalidRequest, "There is no variation -1"),
    "a shared field": (
        "default: &one {variation: 0}\nflags:\n  shiny: {key: shiny, fallthrough: *one, variations: [1, 2]}\n",
        SECOND,
        FlagFileError,
        "the flag 'shiny' shares its fields with others; edit it by hand",
    ),
    "no file of flags": ("[]", OFF, FlagNotFound, "There is no flag"),
}


@pytest.mark.parametrize(("text", "change", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_changed_is_said(text: str, change: FlagChange, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        with_change(text, "shiny", change)
    assert message in str(raised.value)


def test_a_file_is_replaced_as_a_whole_with_its_mode_where_a_link_leads(tmp_path: Path) -> None:
    file, link = tmp_path / "flags.json", tmp_path / "link.json"
    file.write_bytes(b"\xef\xbb\xbf" + JSON.encode())
    file.chmod(0o640)
    link.symlink_to(file)
    change_flag(str(link), "shiny", OFF)
    changed = JSON.replace('"version": 7', '"version": 8').replace('"on"  :  true', '"on"  :  false')
    assert file.read_bytes() == b"\xef\xbb\xbf" + changed.encode()
    assert (link.is_symlink(), file.stat().st_mode & 0o777) == (True, 0o640)
    assert sorted(os.listdir(tmp_path)) == ["flags.json", "link.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be changed: No such file"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'{"flags":\n[}', "line 2: not valid"),
    ],
)
def test_a_file_that_cannot_be_changed_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "flags.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LaunchDarklyUnreachable) as raised:
        change_flag(str(file), "shiny", OFF)
    assert message in str(raised.value)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("text", [JSON, YAML, FLOW, BARE, BARE_YAML])
def test_every_node_is_where_it_says(text: str) -> None:
    document = parse(text)
    node = document.root.find("flags", "shiny", "key")
    assert node is not None
    assert text[node.begin : node.end].strip('"') == "shiny"


@pytest.mark.parametrize("text", ["flags: {1: {key: a}}", "flags: {[1]: 2}", "flagValues: {a: !!python/name:os.x }"])
def test_yaml_that_json_cannot_hold_is_refused(text: str) -> None:
    """But for a name that is a number: it is one that looks so."""
    if "1: {" in text:
        assert parse(text).value == {"flags": {"1": {"key": "a"}}}
        return
    with pytest.raises(FlagFileError, match="not valid"):
        data_set_of(parse(text))
