"""What the store holds. Pure: no I/O, no SDK.

A *data set* is all flags and segments of one LaunchDarkly environment. Items are kept as the JSON text
that the store holds; only the version is looked at, so unknown fields survive.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple

FEATURES = "features"
SEGMENTS = "segments"
KINDS = (FEATURES, SEGMENTS)
"""LaunchDarkly's namespaces for flags and segments, as in every SDK's persistent store."""

UNREADABLE = -1
"""The version of a stored item that does not parse: whatever LaunchDarkly sends replaces it."""

_YEAR_9999_MS = 253_402_300_799_999
"""The last millisecond that RFC 3339 can write."""


class Item(NamedTuple):
    """One flag or segment: its version, and its JSON text as stored."""

    version: int
    text: bytes


DataSet = Mapping[str, Mapping[str, Item]]
"""kind -> key -> item, with every kind of KINDS present."""


Doubts = Mapping[tuple[str, str], int]
"""(kind, key) -> the version that a reconcile has received and not taken, because the stored one is higher."""

DOUBTED_BY_NAME = 100
"""So many of them the sync record has room for, which every evaluation reads."""


Texts = Mapping[str, Mapping[str, bytes]]
"""kind -> key -> JSON text, with every kind of KINDS present."""


LARGEST_SNAPSHOT = 512 * 1024 * 1024
"""In bytes, as large as a value of Redis may be. What claims to be larger is not looked for."""


class SnapshotName(NamedTuple):
    """The snapshot that is complete: its format, its size in bytes, and the revision that the changes lead from.

    ``changes_from`` is None where there are no changes to read: reading the snapshot is as good.
    """

    format: int
    size: int
    changes_from: str | None

    @classmethod
    def from_json(cls, fields: object) -> "SnapshotName | None":
        """The name, or None when there is none that this version of the app understands."""
        if not isinstance(fields, dict):
            return None
        name = cls(fields.get("format", 0), fields.get("size", 0), fields.get("changes_from"))
        is_sound = isinstance(name.format, int) and isinstance(name.size, int) and 0 < name.size <= LARGEST_SNAPSHOT
        return name if is_sound and isinstance(name.changes_from, (str, type(None))) else None


class Doubt(NamedTuple):
    """A version that a reconcile has received of an item and not taken, because the stored one is higher."""

    kind: str
    key: str
    version: int


class SyncRecord(NamedTuple):
    """What the last refresh left in the store, beside LaunchDarkly's own keys.

    ``revision`` names the content; ``synced_at_ms`` is Unix time in milliseconds by the refresher's
    clock; ``source`` is ``launchdarkly`` or ``file``; ``left_out`` items the store cannot hold.
    ``writing`` says that the items are being replaced, or were when the writer died: they are not of
    this revision alone. A store that replaces them as one step never says so. ``snapshot`` is None where
    an older version of the app wrote the record. ``doubted`` is what the next reconcile may take after all;
    ``unreadable`` counts the items that the SDK cannot read. ``environment`` is the LaunchDarkly environment whose data
    set it is, in LaunchDarkly's words (``proj/default:env/production``); None where the refresher was not told.
    """

    revision: str
    synced_at_ms: int
    flags: int
    segments: int
    source: str
    left_out: int = 0
    writing: bool = False
    snapshot: SnapshotName | None = None
    doubted: tuple[Doubt, ...] = ()
    unreadable: int = 0
    environment: str | None = None

    @property
    def doubts(self) -> Doubts:
        return {(doubt.kind, doubt.key): doubt.version for doubt in self.doubted}

    @property
    def synced_at(self) -> str:
        """RFC 3339, in UTC."""
        moment = datetime.fromtimestamp(self.synced_at_ms / 1000, timezone.utc)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def to_json(self) -> str:
        """``writing`` is not part of it; what is rare only when there is some."""
        return json.dumps(
            {
                "revision": self.revision,
                "synced_at": self.synced_at_ms,
                "flags": self.flags,
                "segments": self.segments,
                "source": self.source,
                **({"left_out": self.left_out} if self.left_out else {}),
                **({"unreadable": self.unreadable} if self.unreadable else {}),
                **({"doubted": self.doubted} if self.doubted else {}),
                **({"environment": self.environment} if self.environment is not None else {}),
                **({"snapshot": self.snapshot._asdict()} if self.snapshot is not None else {}),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "SyncRecord | None":
        """The record, or None when the text is not one: then the store counts as filled by somebody else."""
        try:
            fields = json.loads(text)
            record = cls(
                revision=str(fields["revision"]),
                synced_at_ms=int(fields["synced_at"]),
                flags=int(fields["flags"]),
                segments=int(fields["segments"]),
                source=str(fields["source"]),
                left_out=_count(fields.get("left_out")),
                snapshot=SnapshotName.from_json(fields.get("snapshot")),
                unreadable=_count(fields.get("unreadable")),
                doubted=_doubts_from_json(fields.get("doubted")),
                environment=_text(fields.get("environment")),
            )
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
            return None
        return record if 0 <= record.synced_at_ms <= _YEAR_9999_MS else None


def _count(value: object) -> int:
    """0 for what is no count, which another version of the app may mean."""
    return value if isinstance(value, int) and value > 0 else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def name_doubts(doubts: Doubts) -> tuple[Doubt, ...]:
    """As many as the sync record has room for."""
    return tuple(Doubt(kind, key, version) for (kind, key), version in sorted(doubts.items())[:DOUBTED_BY_NAME])


def _doubts_from_json(fields: object) -> tuple[Doubt, ...]:
    """What this version of the app understands of them. Whatever is not understood is doubted once more."""
    if not isinstance(fields, list):
        return ()
    doubts = [Doubt(*each) for each in fields if isinstance(each, list) and len(each) == len(Doubt._fields)]
    return tuple(
        doubt
        for doubt in doubts
        if doubt.kind in KINDS and isinstance(doubt.key, str) and isinstance(doubt.version, int)
    )


class StoredDataSet(NamedTuple):
    """One read of the store.

    ``record`` is None when the store was never filled, or was filled by a Relay Proxy or another SDK;
    ``initialized`` tells the two apart. ``is_snapshot``: the texts are all of the record's revision and
    nothing else. Where they were read item by item, somebody may have written to the items.
    """

    texts: Texts
    record: SyncRecord | None
    initialized: bool
    is_snapshot: bool = False

    def items(self, known: DataSet | None = None) -> DataSet:
        """Every item with its version; an item that does not parse has the version UNREADABLE.

        An item of the same text in ``known`` is taken from there: in an environment of which little has
        changed, little has to be parsed.
        """
        return {
            kind: {key: _known_item(known, kind, key, text) for key, text in self.texts[kind].items()} for kind in KINDS
        }


class Announcement(NamedTuple):
    """What a webhook says LaunchDarkly now holds: an item at ``version`` or higher, or (None) no longer there."""

    kind: str
    key: str
    version: int | None

    def is_met_by(self, version: int | None) -> bool:
        """Whether an item of this version (None: absent) is what was announced, or newer."""
        if self.version is None or version is None:
            return self.version is version
        return version >= self.version

    @classmethod
    def from_json(cls, fields: object) -> "Announcement | None":
        """What ``_asdict`` gave, back from JSON; None for anything else, which announces no version.

        Another version of the app may have queued it.
        """
        if not isinstance(fields, dict) or set(fields) != set(cls._fields):
            return None
        kind, key, version = fields["kind"], fields["key"], fields["version"]
        if kind not in KINDS or not isinstance(key, str) or isinstance(version, bool):
            return None
        return cls(kind, key, version) if version is None or isinstance(version, int) else None


def fetched_item(fields: Mapping[str, object]) -> Item:
    """An item from a decoder. Its keys keep their order, which a JSON variation shows to whoever evaluates it."""
    return Item(version=version_of(fields), text=json.dumps(fields, separators=(",", ":")).encode())


def _known_item(known: DataSet | None, kind: str, key: str, text: bytes) -> Item:
    item = None if known is None else known[kind].get(key)
    return item if item is not None and item.text == text else stored_item(text)


def stored_item(text: bytes) -> Item:
    """An item from its JSON text; its version is UNREADABLE where the text does not parse."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    return Item(version=version_of(fields), text=text)


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8. JSON can also spell half of a character (``\\ud83d``), which is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def version_of(fields: object) -> int:
    """UNREADABLE where there is none that is a whole number."""
    version = fields.get("version") if isinstance(fields, Mapping) else None
    return version if isinstance(version, int) and not isinstance(version, bool) else UNREADABLE


def changes(texts: Texts, data_set: DataSet) -> tuple[dict[str, dict[str, Item]], dict[str, list[str]]]:
    """By kind: the items that ``texts`` holds otherwise or not at all, and the keys that only ``texts`` holds."""
    changed = {
        kind: {key: item for key, item in data_set[kind].items() if texts[kind].get(key) != item.text} for kind in KINDS
    }
    return changed, {kind: [key for key in texts[kind] if key not in data_set[kind]] for kind in KINDS}


def texts_of(data_set: DataSet) -> dict[str, dict[str, bytes]]:
    """The items without their versions."""
    return {kind: {key: item.text for key, item in data_set[kind].items()} for kind in KINDS}


def revision_of(texts: Texts) -> str:
    """An opaque name for this content: the same texts under the same keys give the same revision."""
    import hashlib  # much data, piece by piece; no cold start that finds a snapshot needs it

    digest = hashlib.sha256()
    for kind in KINDS:
        for key, text in sorted(texts[kind].items()):
            for part in (kind.encode(), key.encode("utf-8", "surrogatepass"), text):
                digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()[:32]
