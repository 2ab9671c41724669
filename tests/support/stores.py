"""A store as a test sees it: the reader and the writer of one function instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from chalicelib.config import load_settings
from chalicelib.stores.port import Reader, Writer
from chalicelib.timing import Timing
from chalicelib.wiring import Wiring


class Store(NamedTuple):
    reader: Reader
    writer: Writer


def open_store(environment: Mapping[str, str], timing: Timing = Timing()) -> Store:
    """The store that these settings name, opened as another function instance would."""
    wiring = wiring_of(environment, timing)
    return Store(wiring.reader, wiring.writer)


def wiring_of(environment: Mapping[str, str], timing: Timing = Timing()) -> Wiring:
    """The parts of a function instance with these settings."""
    wiring = Wiring(timing)
    wiring.settings = load_settings(environment)
    return wiring
