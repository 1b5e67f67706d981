"""The optimizer's state beside the weights: matched to parameters by torch's own rules, or left alone with a reason."""

from __future__ import annotations

import dataclasses
import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.checkpoints import CanonicalCheckpoint, canonicalise, load_checkpoint, read_checkpoint_file
from lastsam_core.checkpoints.canonical import learnable
from lastsam_core.checkpoints.inert import Opaque
from lastsam_core.checkpoints.optimizer import read_optimizer
from lastsam_core.checkpoints.tensors import StorageRef, TensorRef, UnsupportedTensor
from lastsam_core.models import create_model
from tests.core.checkpoints.files import saved, write
from tests.core.models.randomise import randomise

Groups = Callable[[nn.Module], Any]


def stepped(
    kind: type[torch.optim.Optimizer] = torch.optim.SGD, groups: Groups = lambda m: m.parameters(), **options: Any
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A net and its optimizer after two steps along random gradients."""
    model = randomise(create_model("resnet20-a"))
    settings = {"lr": 0.03} | ({"momentum": 0.9} if kind is torch.optim.SGD else {}) | options
    optimizer = kind(groups(model), **settings)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return model, optimizer


def read(folder: Path, value: dict[str, Any], container: str = "zip") -> CanonicalCheckpoint:
    return canonicalise(read_checkpoint_file(write(folder / "c", saved(value, container))))


def assert_matched(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, names: tuple[str, ...]) -> None:
    state = load_checkpoint(folder / "c").optimizer
    assert state is not None
    parameters = dict(model.named_parameters())
    assert state.buffers.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert state.buffers[name].keys() == set(names)
        for buffer in names:
            assert torch.equal(state.buffers[name][buffer], optimizer.state[parameter][buffer])


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_momentum_is_matched_to_its_parameters(container: str, tmp_path: Path) -> None:
    model, optimizer = stepped()

    found = read(tmp_path, {"net": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7}, container)

    assert found.layout.optimizer is not None
    assert found.layout.optimizer.model_dump() == {"usable": True, "reason": "", "kind": "sgd", "lr": 0.03}
    assert (found.layout.epoch, found.notes) == (7, ())
    assert found.extras.keys() == {f"momentum.{entry.canonical}" for entry in learnable(found.layout)}
    assert_matched(tmp_path, model, optimizer, ("momentum_buffer",))


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adams_averages_and_steps(kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    model, optimizer = stepped(kind)

    found = read(tmp_path, {"model": model.state_dict(), "optim": optimizer.state_dict()}).layout.optimizer

    assert found is not None
    assert (found.usable, found.kind) == (True, "adam")
    assert_matched(tmp_path, model, optimizer, ("exp_avg", "exp_avg_sq", "step"))
    state = load_checkpoint(tmp_path / "c").optimizer
    assert state is not None
    assert state.buffers["fc.bias"]["step"] == 2


def by_dimension(model: nn.Module) -> list[dict[str, Any]]:
    flat = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": flat, "weight_decay": 0.0}, {"params": [p for p in model.parameters() if p.dim() > 1]}]


def shuffled_by_name(model: nn.Module) -> list[dict[str, Any]]:
    named = list(model.named_parameters())[::-1]
    return [{"params": named[:20]}, {"params": named[20:]}]


@pytest.mark.parametrize(
    "groups",
    [
        by_dimension,
        lambda model: by_dimension(model)[::-1],
        lambda model: [{"params": list(model.parameters())[:9]}, {"params": list(model.parameters())[9:]}],
        shuffled_by_name,
    ],
)
def test_several_groups(groups: Groups, tmp_path: Path) -> None:
    model, optimizer = stepped(groups=groups)
    weights = {f"module.{key}": value for key, value in model.state_dict().items()}

    read(tmp_path, {"state_dict": weights, "optimizer_state_dict": optimizer.state_dict()})

    assert_matched(tmp_path, model, optimizer, ("momentum_buffer",))


def test_a_parameter_that_never_had_a_gradient_has_no_buffer(tmp_path: Path) -> None:
    model, optimizer = stepped()
    state = optimizer.state_dict()
    del state["state"][0]

    read(tmp_path, {"net": model.state_dict(), "optimizer": state})

    kept = load_checkpoint(tmp_path / "c").optimizer
    assert kept is not None
    assert kept.buffers.keys() == dict(model.named_parameters()).keys() - {"conv1.weight"}


def test_lightning_keeps_a_list_of_optimizers(tmp_path: Path) -> None:
    model, optimizer = stepped()
    weights = {f"model.{key}": value for key, value in model.state_dict().items()}
    score = {"best_model_score": torch.tensor(0.9), "best_k_models": {"a.ckpt": torch.tensor(0.9)}}
    value = {
        "epoch": 4,
        "global_step": 100,
        "state_dict": OrderedDict(weights),
        "callbacks": {"ModelCheckpoint{'monitor': None}": score},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"last_epoch": 4}],
    }

    layout = read(tmp_path, value).layout

    assert (layout.prefix, layout.epoch) == ("model.", 4)
    assert_matched(tmp_path, model, optimizer, ("momentum_buffer",))


def test_a_learning_rate_in_a_tensor(tmp_path: Path) -> None:
    model, optimizer = stepped(lr=torch.tensor(0.25))

    found = read(tmp_path, {"net": model.state_dict(), "optimizer": optimizer.state_dict()}).layout.optimizer

    assert found is not None
    assert found.lr == 0.25


# --- what is not used, with the reason; the weights always are


def buffers(state: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return state["state"]


def nan(state: dict[str, Any]) -> None:
    buffers(state)[3]["momentum_buffer"][0] = float("nan")


def far(state: dict[str, Any]) -> None:
    buffers(state)[3]["momentum_buffer"] = buffers(state)[3]["momentum_buffer"].double().fill_(1e300)


def wrong_shape(state: dict[str, Any]) -> None:
    buffers(state)[3]["momentum_buffer"] = torch.ones(2, 2)


def whole_numbers(state: dict[str, Any]) -> None:
    buffers(state)[3]["momentum_buffer"] = torch.ones(16, 16, 3, 3, dtype=torch.int64)


def expanded(state: dict[str, Any]) -> None:
    buffers(state)[3]["momentum_buffer"] = torch.ones(1).expand(16, 16, 3, 3)


def sparse(state: dict[str, Any]) -> None:
    buffers(state)[3]["momentum_buffer"] = torch.ones(16, 16, 3, 3).to_sparse()


def shared(state: dict[str, Any]) -> None:
    numbers: dict[torch.Size, Tensor] = {}
    for entry in buffers(state).values():
        buffer = entry["momentum_buffer"]
        entry["momentum_buffer"] = numbers.setdefault(buffer.shape, buffer)


def text(state: dict[str, Any]) -> None:
    buffers(state)[3]["momentum_buffer"] = "a string"


def itself(state: dict[str, Any]) -> None:
    for index in range(59):
        state["state"][index] = state
    state["state"]["state"] = state["state"]


def million(state: dict[str, Any]) -> None:
    state["param_groups"][0]["params"] = list(range(250_000))


def same_list(state: dict[str, Any]) -> None:
    """Put together before they are counted, they would be five million indices out of a file of kilobytes."""
    state["param_groups"] = [{"params": list(range(50))}] * 100_000


def repeated(state: dict[str, Any]) -> None:
    state["param_groups"][0]["params"] = [0] * 59


def fewer(state: dict[str, Any]) -> None:
    state["param_groups"][0]["params"].pop()


def no_groups(state: dict[str, Any]) -> None:
    state["param_groups"] = []


def odd_groups(state: dict[str, Any]) -> None:
    state["param_groups"] = [3, None]


def no_state(state: dict[str, Any]) -> None:
    state["state"] = {}


def no_dictionary(state: dict[str, Any]) -> None:
    state["state"] = [1, 2]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (nan, "NaN"),
        (far, "beyond the range"),
        (wrong_shape, "order of the weights"),
        (whole_numbers, "int64"),
        (expanded, "share"),
        (sparse, "sparse"),
        (shared, "share"),
        (text, "no tensor"),
        (itself, "no momentum"),
        (million, "more parameters than the 59"),
        (same_list, "more parameters than the 59"),
        (repeated, "not numbered"),
        (fewer, "58 parameters"),
        (no_groups, "format"),
        (odd_groups, "damaged"),
        (no_state, "no momentum"),
        (no_dictionary, "format"),
    ],
)
def test_bad_state_is_left_alone_with_a_note(
    spoil: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    model, optimizer = stepped()
    state = optimizer.state_dict()
    state["state"] = {index: dict(entry) for index, entry in state["state"].items()}
    spoil(state)

    found = read(tmp_path, {"net": model.state_dict(), "optimizer": state})

    assert found.layout.optimizer is not None
    assert not found.layout.optimizer.usable
    assert words in found.layout.optimizer.reason
    assert words in found.notes[-1]
    assert found.extras == {}
    assert load_checkpoint(tmp_path / "c").optimizer is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("step", -1, "count of steps"),
        ("step", torch.tensor(-1.0), "count of steps"),
        ("step", torch.tensor(float("nan")), "count of steps"),
        ("step", 2**60, "count of steps"),
        pytest.param("step", 10**400, "count of steps", id="step-huge"),
        ("step", 1.5, "count of steps"),
        ("step", True, "count of steps"),
        ("step", None, "count of steps"),
        ("exp_avg_sq", -torch.ones(10), "negative squares"),
        ("exp_avg", None, "no tensor"),
    ],
)
def test_bad_state_of_adam(name: str, value: object, words: str, tmp_path: Path) -> None:
    model, optimizer = stepped(torch.optim.Adam)
    state = optimizer.state_dict()
    state["state"][58][name] = value

    found = read(tmp_path, {"net": model.state_dict(), "optimizer": state}).layout.optimizer

    assert found is not None
    assert words in found.reason


def test_other_optimizers_and_other_orders_are_not_mistaken(tmp_path: Path) -> None:
    model, optimizer = stepped(torch.optim.RMSprop, momentum=0.9)
    rms = read(tmp_path, {"net": model.state_dict(), "optimizer": optimizer.state_dict()}).layout.optimizer
    model, optimizer = stepped()
    swapped = sorted(model.state_dict().items(), key=lambda pair: pair[0].rpartition(".")[0])
    biased = sorted(swapped, key=lambda pair: (pair[0].rpartition(".")[0], "weight" in pair[0]))
    order = read(tmp_path, {"net": dict(biased), "optimizer": optimizer.state_dict()}).layout.optimizer

    assert rms is not None
    assert order is not None
    assert "neither" in rms.reason
    assert "order" in order.reason


def replaced(tree: Any, draw: random.Random, junk: Any) -> Any:
    """A copy of a tree of dictionaries and lists in which something, anywhere, is something else."""
    if not isinstance(tree, dict | list) or not tree or draw.random() < 0.15:
        return junk
    made = tree.copy()
    key = draw.choice(list(tree)) if isinstance(tree, dict) else draw.randrange(len(tree))
    made[key] = replaced(tree[key], draw, junk)
    return made


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_whatever_stands_in_the_state_the_reader_comes_back(kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    model, optimizer = stepped(kind)
    raw = read_checkpoint_file(
        write(tmp_path / "c", saved({"net": model.state_dict(), "optimizer": optimizer.state_dict()}))
    )
    parameters = learnable(canonicalise(raw).layout)
    saved_state = raw.beside.optimizer
    assert saved_state is not None
    storages = raw.beside.storages
    far = TensorRef(
        storage=StorageRef(key="999", dtype="float32", item=4, begin=0, size=4),
        dtype="float32", offset=2**61, shape=(2**61,), stride=(1,),
    )  # fmt: skip
    junk: list[Any] = [None, {}, [], "x", b"x", -1, 0, True, 2**70, float("nan"), float("inf"), (1,), [[]], {0: {}}]
    junk += [far, dataclasses.replace(far, shape=()), UnsupportedTensor(kind="sparse"), Opaque("x"), saved_state]
    draw = random.Random(3)
    usable = 0
    for _ in range(600):
        state = {key: replaced(value, draw, draw.choice(junk)) for key, value in saved_state.items()}
        found, tensors = read_optimizer(state, parameters, storages, 10**9)
        assert found.usable is bool(tensors) is not bool(found.reason)
        usable += found.usable
    assert 20 < usable < 580
