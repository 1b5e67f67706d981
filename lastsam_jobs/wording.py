"""What pydantic finds wrong, in the words of whoever wrote the JSON: no Python types, no members of unions.

Service and command both refuse recipes and settings, and say the same of the same mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

__all__ = ["Fault", "faults", "sentence"]

Path = tuple[str | int, ...]

_OBJECT, _LIST, _TEXT = "must be a JSON object", "must be a list", "must be a text"
_WHOLE, _NUMBER, _BOOL = "must be a whole number", "must be a number", "must be true or false"
_FIXED = {
    "missing": "is missing",
    "extra_forbidden": "there is no such field",
    "none_required": "must be null",
    "finite_number": "must be a finite number",
    "int_from_float": _WHOLE,
    "enum": "must be one of the known values",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "dataclass_type"), _OBJECT),
    **dict.fromkeys(("list_type", "tuple_type", "set_type"), _LIST),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode"), _TEXT),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _BOOL),
}
_FILLED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "literal_error": lambda c: f"must be {_quoted(c['expected'])}",
    "enum": lambda c: f"must be {_quoted(c['expected'])}",
    "greater_than": lambda c: f"must be greater than {_number(c['gt'])}",
    "greater_than_equal": lambda c: f"must be at least {_number(c['ge'])}",
    "less_than": lambda c: f"must be less than {_number(c['lt'])}",
    "less_than_equal": lambda c: f"must be at most {_number(c['le'])}",
    "too_short": lambda c: f"must have at least {_count(c['min_length'], 'entry', 'entries')}",
    "too_long": lambda c: f"must have at most {_count(c['max_length'], 'entry', 'entries')}",
    "string_too_short": lambda c: f"must have at least {_count(c['min_length'], 'character', 'characters')}",
    "string_too_long": lambda c: f"must have at most {_count(c['max_length'], 'character', 'characters')}",
    "string_pattern_mismatch": lambda c: f"must match {c['pattern']}",
}


class Fault(NamedTuple):
    """One thing that is wrong: where, as keys and indices from the root; what, as a clause; pydantic's code of it."""

    path: Path
    message: str
    code: str


def sentence(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says, to be put behind the field's name."""
    kind, context = error["type"], error.get("ctx") or {}
    if kind in _FILLED and context:
        return _FILLED[kind](context)
    return _FIXED.get(kind) or error["msg"].removeprefix("Value error, ")


def faults(errors: Sequence[Any], sent: Any = None, model: type[BaseModel] | None = None) -> list[Fault]:
    """pydantic's errors, one a place.

    sent: the JSON as it came, through which the paths lead, where it is at hand. model: what it was to be, which knows
    the fields that somebody may have meant. Where a value could be of several kinds, pydantic complains about each:
    complaints of one place are put together, and those inside the value say more than those about all of it.
    """
    found: dict[Path, Fault] = {}
    for error in errors:
        path = _path(error, sent)
        message = sentence(error)
        if error["type"] == "extra_forbidden" and model is not None:
            message += _meant(path, model)
        before = found.get(path)
        if before is None:
            found[path] = Fault(path, message, error["type"])
        elif message not in before.message:
            found[path] = before._replace(message=f"{before.message} or {message.removeprefix('must be ')}")
    return [one for one in found.values() if not any(_inside(other, one.path) for other in found)]


def _path(error: Mapping[str, Any], sent: Any) -> Path:
    path: list[str | int] = []
    for place, part in enumerate(error["loc"], 1):
        named = place == len(error["loc"]) and error["type"] == "missing"
        if sent is None:
            # Members of unions are named as classes or with brackets, which no field of ours is.
            if isinstance(part, int) or (part.replace("_", "").isalnum() and part.islower() and part not in _KINDS):
                path.append(part)
        elif isinstance(sent, dict):
            if part in sent:
                sent = sent[part]
                path.append(part)
            elif named:
                path.append(part)
        elif isinstance(sent, list | tuple) and isinstance(part, int):
            if part < len(sent):
                sent = sent[part]
            path.append(part)
    return tuple(path)


_KINDS = frozenset({"float", "int", "bool", "str", "none"})


def _inside(path: Path, of: Path) -> bool:
    return len(path) > len(of) > 0 and path[: len(of)] == of


def _meant(path: Path, model: type[BaseModel]) -> str:
    """Which field is meant by the last part of a path that leads to none."""
    for part in path[:-1]:
        field = model.model_fields.get(str(part))
        inner = [kind for kind in _members(field.annotation) if isinstance(kind, type)] if field else []
        models = [kind for kind in inner if issubclass(kind, BaseModel)]
        if not models:
            return ""
        model = models[0]
    close = difflib.get_close_matches(str(path[-1]), model.model_fields, n=1) if path else []
    return f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(model.model_fields)}"


def _members(annotation: Any) -> list[Any]:
    inner = get_args(annotation)
    return [kind for one in inner for kind in _members(one)] if inner else [annotation]


def _quoted(expected: Any) -> str:
    return str(expected).replace("'", '"')


def _number(figure: float) -> str:
    return f"{figure:g}" if isinstance(figure, float) else str(figure)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
