from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict
from typing import Any

import pytest

from lastsam_core.checkpoints.inert import OrderedMapping
from lastsam_core.checkpoints.pickles import read_pickle

PLAIN: list[Any] = [
    None, True, False, 0, 255, 65_536, -1, 2**40, -(2**70), 1.5, float("inf"), "", "é", "x" * 300, b"", b"\x00" * 300,
    [], (), {}, [1, [2, [3]]], (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"a": 1, 2: "b", (1, "c"): None}, [[]] * 3,
]  # fmt: skip


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_values_are_what_pickle_makes_of_them(protocol: int) -> None:
    data = pickle.dumps(PLAIN, protocol=protocol)

    value, end = read_pickle(memoryview(data))

    assert value == PLAIN
    assert end == len(data)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_values_follow_each_other(protocol: int) -> None:
    data = pickle.dumps([1], protocol=protocol) + pickle.dumps("two", protocol=protocol)

    first, at = read_pickle(memoryview(data))
    second, end = read_pickle(memoryview(data), at)

    assert (first, second, end) == ([1], "two", len(data))


@pytest.mark.parametrize("protocol", [2, 4])
def test_dictionaries_of_other_classes(protocol: int) -> None:
    ordered: OrderedDict[str, Any] = OrderedDict(b=1, a=2)
    ordered.attribute = "passed over"  # type: ignore[attr-defined]
    data = pickle.dumps([ordered, defaultdict(list, x=[1])], protocol=protocol)

    value, _ = read_pickle(memoryview(data))

    assert value == [{"b": 1, "a": 2}, {"x": [1]}]
    assert isinstance(value, list)
    assert type(value[0]) is OrderedMapping
    assert list(value[0]) == ["b", "a"]
    assert type(value[1]) is dict


def test_what_python_2_wrote() -> None:
    """OrderedDict([['w', 'text']]): the pairs as an argument, strings as bytes."""
    data = b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01]q\x02(U\x01wq\x03U\x04textq\x04ea\x85q\x05Rq\x06."

    assert read_pickle(memoryview(data))[0] == {"w": "text"}
