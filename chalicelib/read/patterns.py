"""The regular expressions of ``matches`` clauses, in a time that does not explode.

Python's ``re``, which the SDK uses, takes exponential time for some patterns and quadratic time for many, and what
it searches comes from the caller. LaunchDarkly's services and its Go SDK use RE2, which is linear, so the authors of
flags have no reason to avoid such patterns. Here a pattern is translated for RE2, with the meaning that it has in
Python: the characters that each part of it matches are asked of ``re`` itself. What cannot be translated
(look-around, references to groups, a Unicode ``\\b``) is searched by ``re``, as long as the worst case that the
pattern allows for a text of that length is small. A longer text does not match, and the log says so once.

Imported, with RE2, when a data set has such a clause and it is evaluated; a cold start without one pays nothing.
"""

from __future__ import annotations

import logging
import re
import sys
from array import array
from collections.abc import Iterable
from typing import Any

try:
    from re import _compiler as compiler  # type: ignore[attr-defined]
    from re import _constants as codes
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_compile as compiler
    import sre_constants as codes
    import sre_parse as parser

logger = logging.getLogger(__name__)

MOST_STEPS = 20_000
"""Of Python's matcher in one search, at 10 to 50 nanoseconds each: an array may hold a hundred texts."""

_MAX_MEMORY = 4 * 1024 * 1024
"""Of RE2 for one pattern: the program, and the states that it keeps."""


def bound_patterns(item: Any) -> None:
    """Replaces the patterns of a flag or segment (the SDK's model, which exports no type) by bounded ones."""
    for rule in item.rules:
        for clause in rule.clauses:
            if clause.op == "matches":
                clause._values_preprocessed = [_bounded(each, item.key) for each in clause.values_preprocessed]


def _bounded(value: Any, key: str) -> Any:
    """The value of a clause as the SDK has prepared it; without a pattern, if it is none."""
    return value if value.as_regex is None else type(value)(as_regex=BoundedPattern(value.as_regex, key))


class BoundedPattern:
    """What the SDK needs of a compiled pattern: ``search`` is None where nothing matches."""

    def __init__(self, regex: re.Pattern[str], key: str) -> None:
        """``key`` is that of the flag or segment, for the log."""
        self._regex = regex
        self._key = key
        self._translated: dict[bool, _Translated | None] = {}
        self._longest: int | None = None
        self._is_logged = False

    def search(self, text: str) -> object | None:
        if not text:
            return self._regex.search(text)  # Python versions differ in what matches nothing at all
        translated = self._for_texts_like(text)
        if translated is not None and not (translated.wants_no_final_newline and text.endswith("\n")):
            found: object | None = translated.program.search(text.encode())
            return found
        if self._longest is None:
            self._longest = longest_text(self._regex.pattern)
        if len(text) <= self._longest:
            return self._regex.search(text)
        if not self._is_logged:
            self._is_logged = True
            logger.warning(
                "a pattern of %r matches no text of more than %d characters: longer ones could take too long",
                self._key,
                self._longest,
            )
        return None

    def _for_texts_like(self, text: str) -> _Translated | None:
        """For ASCII the translation is much smaller, because most characters that a pattern names are not."""
        is_ascii = text.isascii()
        if is_ascii not in self._translated:
            self._translated[is_ascii] = _translate(self._regex.pattern, is_ascii=is_ascii)
        return self._translated[is_ascii]


class _Translated:
    def __init__(self, program: Any, *, wants_no_final_newline: bool) -> None:
        self.program = program
        self.wants_no_final_newline = wants_no_final_newline


def _translate(pattern: str, *, is_ascii: bool) -> _Translated | None:
    """The pattern for RE2; None where RE2 cannot have its meaning, or finds it too large."""
    try:
        import re2
    except ImportError:  # there is no wheel for this platform
        return None
    translation = _Translation(is_ascii=is_ascii)
    parsed = parser.parse(pattern)
    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = _MAX_MEMORY, False, True
    try:
        text = translation.sequence(parsed, parsed.state.flags, is_last=True)
        program = re2.compile(text.encode(), options)
    except (_Untranslatable, RecursionError, re2.error):
        return None
    return _Translated(program, wants_no_final_newline=translation.wants_no_final_newline)


class _Untranslatable(Exception):
    """A part of the pattern has no equal in RE2."""


_ONE_CHARACTER = (codes.LITERAL, codes.NOT_LITERAL, codes.IN, codes.ANY)
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT)


class _Translation:
    """One pass over what Python's parser makes of a pattern."""

    def __init__(self, *, is_ascii: bool) -> None:
        self._is_ascii = is_ascii
        self.wants_no_final_newline = False

    def sequence(self, nodes: Any, flags: int, *, is_last: bool) -> str:
        """``is_last``: nothing of the pattern follows."""
        end = len(nodes) - 1
        return "".join(
            self._node(node, flags, is_last=is_last and position == end) for position, node in enumerate(nodes)
        )

    def _node(self, node: tuple[Any, Any], flags: int, *, is_last: bool) -> str:
        code, argument = node
        if code in _ONE_CHARACTER:
            return _character_class(node, flags, is_ascii=self._is_ascii)
        if code is codes.BRANCH:
            return f"(?:{'|'.join(self.sequence(each, flags, is_last=is_last) for each in argument[1])})"
        if code is codes.SUBPATTERN:
            _, added, removed, inner = argument
            return f"(?:{self.sequence(inner, (flags | added) & ~removed, is_last=is_last)})"
        if code in _REPEATS:
            least, most, inner = argument
            times = f"{{{least},{'' if most is codes.MAXREPEAT else most}}}"
            return f"(?:{self.sequence(inner, flags, is_last=False)}){times}"
        if code is codes.AT:
            return self._position(argument, flags, is_last=is_last)
        raise _Untranslatable

    def _position(self, position: Any, flags: int, *, is_last: bool) -> str:
        if position in (codes.AT_BOUNDARY, codes.AT_NON_BOUNDARY):
            if not self._is_ascii and (position is codes.AT_NON_BOUNDARY or not flags & re.ASCII):
                # RE2 knows boundaries of ASCII words alone, and takes the inside of a character for none.
                raise _Untranslatable
            return "\\b" if position is codes.AT_BOUNDARY else "\\B"
        if position is codes.AT_BEGINNING and flags & re.MULTILINE:
            return "(?m:^)"
        if position in (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING):
            return "\\A"
        if position is codes.AT_END_STRING:
            return "\\z"
        if flags & re.MULTILINE:
            return "(?m:$)"
        if is_last:
            return "(?:\\n?\\z)"  # Python's $ is also before a newline that ends the text
        self.wants_no_final_newline = True
        return "\\z"


_ALL_CHARACTERS = ((0, 0xD800), (0xE000, 0x110000))
"""All but the surrogates, which no context holds."""

_classes: dict[tuple[str, int, bool], str] = {}
"""For one character of a pattern, written out: asking for all of Unicode takes milliseconds."""


def _character_class(node: tuple[Any, Any], flags: int, *, is_ascii: bool) -> str:
    """What this part of a pattern matches, in RE2's words. Python's own matcher is asked."""
    key = (repr(node), flags, is_ascii)
    if key not in _classes:
        _classes[key] = _as_class(_matched_ranges(node, flags, is_ascii=is_ascii))
    return _classes[key]


def _matched_ranges(node: tuple[Any, Any], flags: int, *, is_ascii: bool) -> Iterable[tuple[int, int]]:
    if node[0] is codes.LITERAL and not flags & re.IGNORECASE:
        return [(node[1], node[1])] if is_ascii <= (node[1] < 0x80) and not 0xD800 <= node[1] < 0xE000 else []
    state = parser.State()
    state.flags = flags
    some = (codes.MAX_REPEAT, (1, codes.MAXREPEAT, parser.SubPattern(state, [node])))
    regex = compiler.compile(parser.SubPattern(state, [some]), flags)
    return [
        (first + match.start(), first + match.end() - 1)
        for first, end in (((0, 0x80),) if is_ascii else _ALL_CHARACTERS)
        for match in regex.finditer(_characters(first, end))
    ]


def _characters(first: int, end: int) -> str:
    return array("I", range(first, end)).tobytes().decode("utf-32-" + sys.byteorder[0] + "e")


def _as_class(ranges: Iterable[tuple[int, int]]) -> str:
    written = "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in ranges)
    return f"[{written}]" if written else "[^\\x{0}-\\x{10ffff}]"


# The worst case of Python's matcher.


def longest_text(pattern: str) -> int:
    """How long a text may be so that a search of it takes at most MOST_STEPS, whatever it holds."""
    low, high = 0, MOST_STEPS
    while low < high:
        middle = (low + high + 1) // 2
        if steps(pattern, middle) <= MOST_STEPS:
            low = middle
        else:
            high = middle - 1
    return low


def steps(pattern: str, length: int) -> float:
    """At most so many steps of a search in a text of this length: it begins at each character, or at the first.

    A number above MOST_STEPS only says that it is above.
    """
    parsed = parser.parse(pattern)
    _, work = _sequence_cost(parsed, length)
    first = parsed[0] if len(parsed) else None
    at_start = first in ((codes.AT, codes.AT_BEGINNING_STRING), (codes.AT, codes.AT_BEGINNING))
    if at_start and not parsed.state.flags & re.MULTILINE:
        return length + 1 + work
    return (length + 1) * work


def _sequence_cost(nodes: Any, length: int) -> tuple[float, float]:
    """In how many ways the parts can match from one place, and how many steps trying all of them takes.

    The matcher comes back into each way, so the next part is tried once for each.
    """
    ways, work = 1.0, 1.0
    for node in nodes:
        node_ways, node_work = _cost(node, length)
        work += ways * node_work
        ways *= node_ways
        if work > MOST_STEPS:
            return ways, work  # enough to know
    return ways, work


def _cost(node: tuple[Any, Any], length: int) -> tuple[float, float]:
    code, argument = node
    if code is codes.BRANCH:
        return _sum(_sequence_cost(each, length) for each in argument[1])
    if code is codes.GROUPREF_EXISTS:
        return _sum(_sequence_cost(each, length) for each in argument[1:] if each is not None)
    if code is codes.SUBPATTERN:
        return _sequence_cost(argument[3], length)
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return 1.0, _sequence_cost(argument[1], length)[1]
    if code in _REPEATS:
        return _repeat_cost(argument, length)
    if code is getattr(codes, "POSSESSIVE_REPEAT", None):
        return 1.0, _repeat_cost(argument, length)[1]
    if code is getattr(codes, "ATOMIC_GROUP", None):
        return 1.0, _sequence_cost(argument, length)[1]
    if code is codes.GROUPREF:
        return 1.0, length + 1.0
    return 1.0, 1.0  # one character, or a position


def _repeat_cost(repeat: tuple[int, int, Any], length: int) -> tuple[float, float]:
    least, most, inner = repeat
    inner_ways, inner_work = _sequence_cost(inner, length)
    times = min(int(most), max(least, length + 1))  # what matches nothing is not repeated without end
    total_ways, total_work, ways = 0.0, 1.0, 1.0
    for time in range(times + 1):
        if time >= least:
            total_ways += ways
        total_work += ways * inner_work
        ways *= inner_ways
        if total_work > MOST_STEPS:
            return max(total_ways, 1.0), total_work
    return total_ways, total_work


def _sum(costs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    listed = list(costs)
    return sum(ways for ways, _ in listed), 1.0 + sum(work for _, work in listed)
