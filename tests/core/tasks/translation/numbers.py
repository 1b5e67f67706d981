"""A genuine little translation problem, made by rule: the names of numbers in German and in English.

Units and tens change places between the two ("dreiundzwanzig", "twenty-three"), so that a net has to attend, and a
number it never saw can be named right only by having learned how.
"""

from __future__ import annotations

from lastsam_core.data import chance
from lastsam_core.tasks.translation import ParallelText

_ENGLISH = {
    **dict(enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"))),
    **dict(enumerate(("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"), 11)),
    **dict(enumerate(("eighteen", "nineteen"), 18)),
}
_ENGLISH_TENS = dict(enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2))
_GERMAN = {
    **dict(enumerate(("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"))),
    **dict(enumerate(("elf", "zwölf", "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn"), 11)),
    **dict(enumerate(("achtzehn", "neunzehn"), 18)),
}
_GERMAN_TENS = dict(
    enumerate(("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"), 2)
)


def english(n: int) -> str:
    """The name of 0 <= n < 10,000."""
    if n < 20:
        return _ENGLISH[n]
    if n < 100:
        return _ENGLISH_TENS[n // 10] + (f"-{_ENGLISH[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{_ENGLISH[n // 100]} hundred" + (f" and {english(n % 100)}" if n % 100 else "")
    joint = " and " if n % 1000 < 100 else " "
    return f"{english(n // 1000)} thousand" + (f"{joint}{english(n % 1000)}" if n % 1000 else "")


def german(n: int) -> str:
    """The name of 0 <= n < 10,000."""
    if n < 20:
        return _GERMAN[n]
    if n < 100:
        unit = "ein" if n % 10 == 1 else _GERMAN[n % 10]
        return (f"{unit}und" if n % 10 else "") + _GERMAN_TENS[n // 10]
    size, word = (100, "hundert") if n < 1000 else (1000, "tausend")
    many = "ein" if n // size == 1 else german(n // size)
    return f"{many}{word}" + (german(n % size) if n % size else "")


def number_text(numbers: list[int]) -> ParallelText:
    """German to English."""
    return ParallelText(source=tuple(map(german, numbers)), target=tuple(map(english, numbers)))


def train_and_test(below: int = 1000, test: int = 60) -> tuple[ParallelText, ParallelText]:
    """All numbers below `below`, `test` of them kept apart."""
    shuffled = [int(n) for n in chance.order(below, 0, "numbers")]
    return number_text(shuffled[test:]), number_text(shuffled[:test])
