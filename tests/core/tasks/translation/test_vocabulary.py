"""Subwords: lossless, repeatable, and clear about sizes that cannot be had."""

from __future__ import annotations

import pytest

from lastsam_core.errors import BadDataset, CheckpointError
from lastsam_core.tasks.translation import ParallelText, Vocabulary
from lastsam_core.tasks.translation.vocabulary import BOS, EOS, UNKNOWN
from tests.core.tasks.translation.numbers import english, german


def test_text_survives_and_the_same_text_gives_the_same_vocabulary(text: ParallelText, vocabulary: Vocabulary) -> None:
    assert len(vocabulary) == 90
    for sentences in (text.source, text.target):
        tokens = vocabulary.encode(sentences)
        assert vocabulary.decode(tokens) == list(sentences)
        assert all(EOS < token < 90 for row in tokens for token in row)
    again = Vocabulary.learn(text.source + text.target, 90)
    assert again.model == vocabulary.model
    assert again.digest() == vocabulary.digest()
    assert Vocabulary(vocabulary.model).encode(["zwölf"]) == vocabulary.encode(["zwölf"])


def test_frequent_words_are_one_subword(vocabulary: Vocabulary) -> None:
    assert [len(row) for row in vocabulary.encode(["hundred", "hundert"])] == [1, 2]


def test_marks_are_no_text_and_unseen_letters_are_unknown(vocabulary: Vocabulary) -> None:
    (row,) = vocabulary.encode(["one"])
    assert vocabulary.decode([[BOS, *row, EOS, 0, 0]]) == ["one"]
    assert vocabulary.encode(["Ω"])[0][-1] == UNKNOWN


@pytest.mark.parametrize(("size", "hint"), [(5000, "at most"), (8, "at least")])
def test_a_size_that_cannot_be_had_is_explained(text: ParallelText, size: int, hint: str) -> None:
    with pytest.raises(BadDataset, match=str(size)) as caught:
        Vocabulary.learn(text.source, size)
    assert hint in (caught.value.hint or "")


def test_something_else_is_no_vocabulary() -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        Vocabulary(b"something else")


@pytest.mark.parametrize(
    ("n", "in_german", "in_english"),
    [
        (21, "einundzwanzig", "twenty-one"),
        (101, "einhunderteins", "one hundred and one"),
        (3748, "dreitausendsiebenhundertachtundvierzig", "three thousand seven hundred and forty-eight"),
        (7016, "siebentausendsechzehn", "seven thousand and sixteen"),
    ],
)
def test_the_text_of_these_tests_is_german_and_english(n: int, in_german: str, in_english: str) -> None:
    assert (german(n), english(n)) == (in_german, in_english)
