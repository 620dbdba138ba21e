"""What each setting of a configuration may be. Text is read by the setting's type; one line says what is allowed."""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.protocol.study import ConfigError

MOST = 10**12
"""No whole number of any setting is larger; the paper's largest, a budget, is a ten-thousandth of it."""


@dataclass(frozen=True)
class Range:
    """What a setting may be: `words` say it, `allows` decides of a value, `read` makes one of text.

    With `optional` it may be None as well, typed as null.
    """

    words: str
    allows: Callable[[Any], bool]
    read: Callable[[str], Any]
    optional: bool = False

    def parse(self, key: str, text: str) -> Any:
        """The value that was typed.

        Raises:
          ConfigError: it is none of this setting.
        """
        if self.optional and text in ("null", "None"):
            return None
        try:
            value = self.read(text)
        except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError):
            raise ConfigError(self._refusal(key, text)) from None
        self.check(key, value)
        return value

    def check(self, key: str, value: Any) -> None:
        """Raises ConfigError if the value is out of range."""
        if not (self.optional and value is None) and not self.allows(value):
            raise ConfigError(self._refusal(key, value))

    def _refusal(self, key: str, value: Any) -> str:
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        return f"config.{key} must be {self.words}{' or null' if self.optional else ''}, got {shown}"


def whole(low: int, high: int = MOST, *, optional: bool = False) -> Range:
    """Whole numbers between two, both included."""

    def allows(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Range(f"a whole number from {low:,} to {high:,}", allows, _whole, optional)


def number(low: float, high: float, *, above: bool = False, below: bool = False, optional: bool = False) -> Range:
    """Numbers between two; `above` leaves out `low`, `below` leaves out `high`."""

    def allows(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return (low < value if above else low <= value) and (value < high if below else value <= high)

    words = "a finite number"
    if math.isfinite(low):
        words = f"a number {'above' if above else 'from'} {low:g}"
        words += f" {'and below' if below else 'to'} {high:g}" if math.isfinite(high) else ""
    return Range(words, allows, _number, optional)


def one_of(*choices: str) -> Range:
    """One of these texts."""
    return Range(f"one of {', '.join(choices)}", lambda value: value in choices, str)


def text(*, optional: bool = False) -> Range:
    """Any text but none."""
    return Range("text", lambda value: isinstance(value, str) and value != "", str, optional)


def like(default: Any) -> Range:
    """What a setting may be of which nothing is known but its default: the same type, and as a number not negative."""
    if isinstance(default, bool):
        return Range("true or false", lambda value: isinstance(value, bool), _truth)
    if isinstance(default, int):
        return whole(1)
    if isinstance(default, float):
        return number(0, math.inf)
    if isinstance(default, str):
        return text()
    if isinstance(default, tuple | list) and default:
        part = like(default[0])
        return Range(
            f"values in parentheses, each {part.words}",
            lambda value: isinstance(value, tuple | list) and len(value) > 0 and all(map(part.allows, value)),
            lambda text: _tuple(text, isinstance(default[0], float)),
        )
    return Range("a number or text", lambda value: value is None or isinstance(value, int | float | str), _any)


def of(key: str, default: Any) -> Range:
    """What the setting of this key and default may be, also where it is one of `config.at`."""
    if key.startswith("at."):
        key = key.split(".", 2)[2]
    return RANGES.get(key) or like(default)


def _whole(text: str) -> int:
    value = float(text) if "e" in text.lower() else int(text)
    if value != int(value):
        raise ValueError
    return int(value)


def _number(text: str) -> float:
    return float(text)


def _truth(text: str) -> bool:
    return ("false", "true").index(text.lower()) == 1


def _tuple(text: str, floats: bool) -> tuple[Any, ...]:
    value = ast.literal_eval(text)
    value = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(float(part) if floats and isinstance(part, int) else part for part in value)


def _any(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None if text == "null" else text


RANGES: Mapping[str, Range] = {
    "batch_size": whole(1, 10**7),
    "data.colour_strength": number(0, 1),
    "data.corrupt": one_of("fail", "skip"),
    "data.padding": whole(0, 1_000),
    "data.smallest_area": number(0, 1, above=True),
    "data.validation": one_of("held_out", "official"),
    "divergence_factor": number(1, math.inf, above=True),
    "end_factor": number(0, 1),
    "eval_batch_size": whole(1, 10**7),
    "figure4_updates": whole(1, optional=True),
    "fixed_budget.trials": whole(1, 100_000),
    "goal": one_of("min", "max"),
    "model.dtype": one_of("float32", "bfloat16"),
    "model.ghost_batch_size": whole(1, optional=True),
    "model.init_from": text(optional=True),
    "model.label_smoothing": number(0, 1, below=True),
    "model.layers": whole(1, 1_000),
    "model.stem": one_of("small", "imagenet"),
    "searches": whole(1, 10_000),
    "seed": whole(0),
    "seconds_per_update": number(0, math.inf, above=True, optional=True),
    "shuffle_buffer": whole(0),
    "target": number(-math.inf, math.inf),
    "trials": whole(1, 100_000),
}
"""Of the settings whose type alone does not say it; by dotted key."""
