"""What goes into a layer for a Python and an architecture that are not those of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.build_layer import compile_for, main, pins_for, platforms
from tools.make_venv import NEWEST, OLDEST

PYTHONS = [(3, minor) for minor in range(OLDEST[1], NEWEST[1] + 1)]


def pinned(python_version: tuple[int, int]) -> dict[str, str]:
    """The version of each package that a layer for this Python has."""
    return dict(pin.split()[0].split("==") for pin in pins_for(python_version))


@pytest.mark.parametrize("python_version", PYTHONS)
def test_the_pins_are_those_that_hold_for_the_python_of_the_layer(python_version: tuple[int, int]) -> None:
    pins = pinned(python_version)
    assert {"certifi", "google-re2", "launchdarkly-server-sdk"} <= set(pins)
    assert not {"redis", "async-timeout"} & set(pins)
    assert (pins["google-re2"] == "1.1") is (python_version < (3, 12))
    assert all("--hash=sha256:" in pin for pin in pins_for(python_version))


@pytest.mark.parametrize(("python_version", "newest"), [((3, 11), "manylinux_2_26"), ((3, 12), "manylinux_2_34")])
def test_no_wheel_needs_a_later_glibc_than_lambda_has(python_version: tuple[int, int], newest: str) -> None:
    accepted = list(platforms(python_version, "aarch64"))
    assert accepted[0] == f"{newest}_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(accepted)


def test_without_the_python_of_the_layer_there_is_no_bytecode_and_a_word_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    another = next(each for each in PYTHONS if each != sys.version_info[:2])
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "module.py").write_text("")
    compile_for(tmp_path, another)
    assert list(tmp_path.iterdir()) == [tmp_path / "module.py"]
    assert f"There is no python3.{another[1]} on the PATH" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["3.9", "3.15", "3", "python3.12", "3.12.1", "2.7"])
def test_another_python_is_refused_by_name(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["build_layer", "--python-version", text, "dist"])
    with pytest.raises(SystemExit):
        main()
    assert f"'{text}'; expected 3.10 to 3.14" in capsys.readouterr().err
