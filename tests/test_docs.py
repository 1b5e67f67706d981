"""What the documentation names exists: recipe fields and tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from lastsam_core.recipe import Recipe

ROOT = Path(__file__).parents[1]
METHODS = ROOT / "docs" / "methods.md"


def rows() -> list[list[str]]:
    lines = [line for line in METHODS.read_text().splitlines() if line.startswith("|") and "---" not in line]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row[0] != "paper"]


def named(column: int) -> list[str]:
    return sorted({name for row in rows() for name in re.findall(r"`([^`]+)`", row[column])})


def is_field(path: str) -> bool:
    model: type[BaseModel] = Recipe
    *groups, last = path.split(".")
    for group in groups:
        field = model.model_fields.get(group)
        if field is None:
            return False
        kinds = [field.annotation, *get_args(field.annotation)]
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return last in model.model_fields


@pytest.mark.parametrize("path", named(2))
def test_the_fields_of_the_methods_table_exist(path: str) -> None:
    assert is_field(path)


@pytest.mark.parametrize("test", named(3))
def test_the_tests_of_the_methods_table_exist(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_row_names_a_test() -> None:
    assert len(rows()) > 20
    assert all("::" in row[3] for row in rows())


def test_every_field_of_the_method_has_a_row() -> None:
    told = set(named(2))
    assert {f"method.{name}" for name in type(Recipe().method).model_fields} <= told
