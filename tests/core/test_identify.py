"""Two functions with the same tensors: the training images tell which one a checkpoint is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lastsam_core.checkpoints import LoadedCheckpoint, as_architecture, load_checkpoint
from lastsam_core.data import Dataset
from lastsam_core.delivery import Source
from lastsam_core.errors import ArchitectureMismatch, UnknownArchitecture
from lastsam_core.identify import identify, in_architecture
from lastsam_core.models import Architecture
from lastsam_core.models.zoo import ZOO
from lastsam_core.phase import Wish
from lastsam_core.recipe import Recipe
from lastsam_core.refinement import Interrupted, Refinement
from tests.factories import SMALL, TINY, tiny_batches, tiny_dataset

DATASET = tiny_dataset(train=96, test=60, size=8, classes=10)
CPU = torch.device("cpu")
GIVEN = {"data": TINY}
AUTO = {"data": {"name": "tiny"}}


class Net(nn.Module):
    """BatchNorm before or after the activation: equal tensors, unequal functions."""

    def __init__(self, *, late: bool, num_classes: int) -> None:
        super().__init__()
        self.late = late
        self.conv = nn.Conv2d(3, 12, 3, stride=2)
        self.bn = nn.BatchNorm2d(12)
        self.fc = nn.Linear(108, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.bn(F.relu(-x)) if self.late else F.relu(self.bn(x))
        return self.fc(x.flatten(1))


@pytest.fixture(autouse=True)
def two_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {key: tuple(value.shape) for key, value in Net(late=False, num_classes=10).state_dict().items()}
    entry = {"head": ["fc.weight", "fc.bias"], "tensors": tensors}
    for name in ("early", "late"):
        known = Architecture(
            name=name, title=name, family="resnet", parameters=1, source="", builder=f"{__name__}:Net",
            arguments={"late": name == "late"}, shapes=lambda: {"early": entry, "late": entry},
        )  # fmt: skip
        monkeypatch.setitem(ZOO, name, known)


def trained(path: Path, *, late: bool, steps: int = 40) -> Net:
    """A net that knows its dataset, kept at `path` with its optimizer."""
    torch.manual_seed(0)
    net = Net(late=late, num_classes=10).train()
    batches = tiny_batches(Recipe.model_validate({"batch_size": 32, "data": {"augment": "none"}}), DATASET)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        x, y = batches.batch(step // 3, step % 3)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, path)
    return net.eval()


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Source]:
    def make(**options: Any) -> Source:
        trained(tmp_path / "c.pt", **options)
        return source_of(load_checkpoint(tmp_path / "c.pt", arch="early"))

    return make


def source_of(loaded: LoadedCheckpoint) -> Source:
    layout = loaded.layout.model_copy(update={"alternatives": ("late",)})
    return Source(model=loaded.model, layout=layout, sha256="ab" * 32, filename="c.pt", optimizer=loaded.optimizer)


def found(source: Source, spec: dict[str, Any], dataset: Dataset = DATASET) -> Any:
    return identify(source, Recipe.model_validate(spec), dataset, device=CPU)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("spec", [GIVEN, AUTO])
def test_the_images_tell_which_it_is(source: Callable[..., Source], late: bool, spec: dict[str, Any]) -> None:
    judged = found(source(late=late), spec)

    right, wrong = ("late", "early") if late else ("early", "late")
    assert judged.source.layout.arch == right
    assert judged.source.layout.alternatives == (wrong,)
    assert [one["arch"] for one in judged.tried] == [right, wrong]
    best, other = judged.tried
    assert best["accuracy"] > 0.9 > other["accuracy"]
    assert best["nll"] < other["nll"]
    assert len(judged.notes) == 1
    assert right in judged.notes[0]
    assert "Recognised" not in judged.notes[0]
    assert (judged.normalization.name == "given") is (spec is GIVEN)


def test_one_that_makes_no_sense_of_the_images_is_called_that(source: Callable[..., Source]) -> None:
    note = found(source(late=True, steps=0), AUTO).notes[-1]

    assert "Recognised by its shapes" in note
    assert "chance: 10.4 %" in note


def test_what_the_recipe_says_is_not_judged(source: Callable[..., Source]) -> None:
    both = found(source(late=True), {**GIVEN, "model": {"arch": "early"}})
    assert (both.source.layout.arch, both.tried, both.notes) == ("early", [], ())
    other = found(source(late=True), {**GIVEN, "model": {"arch": "late"}})
    assert other.source.layout.arch == "late"
    with pytest.raises(ArchitectureMismatch):
        found(source(late=True), {**GIVEN, "model": {"arch": "resnet20-a"}})


def test_weights_and_optimizer_state_come_along(source: Callable[..., Source], tmp_path: Path) -> None:
    early = source(late=True)
    late = in_architecture(early, "late")

    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(late.model(x), trained(tmp_path / "c.pt", late=True)(x))
    assert not torch.allclose(late.model(x), early.model(x))
    assert late.optimizer is not None
    assert early.optimizer is not None
    assert late.optimizer.buffers.keys() == early.optimizer.buffers.keys()
    assert in_architecture(early, "early") is early


def test_another_reading_of_a_layout(source: Callable[..., Source]) -> None:
    layout = source(late=False).layout
    other = as_architecture(layout, "late")

    assert (other.arch, other.alternatives, other.tensors) == ("late", ("early",), layout.tensors)
    assert as_architecture(other, "early") == layout
    with pytest.raises(ArchitectureMismatch):
        as_architecture(layout, "resnet20-a")
    with pytest.raises(UnknownArchitecture):
        as_architecture(layout, "never")


def test_a_search_can_be_interrupted(source: Callable[..., Source]) -> None:
    def check() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        identify(source(late=True), Recipe.model_validate(AUTO), DATASET, device=CPU, check=check)


def test_a_refinement_is_of_the_function_that_was_found(source: Callable[..., Source], tmp_path: Path) -> None:
    def refinement(name: str, **options: Any) -> Refinement:
        (tmp_path / name).mkdir()
        return Refinement(
            source_of(load_checkpoint(tmp_path / "c.pt", arch="early")),
            Recipe.model_validate(SMALL),
            DATASET,
            device=CPU,
            out_dir=tmp_path / name,
            **options,
        )

    source(late=True)
    said: list[dict[str, Any]] = []
    receipt = refinement("whole", report=said.append).run()
    assert receipt["checkpoint"]["arch"] == "late"
    assert [one["arch"] for one in receipt["before"]["architectures"]] == ["late", "early"]
    assert receipt["before"]["test"]["accuracy"] > 0.9
    assert next(m for m in said if m["type"] == "baseline")["architectures"] == receipt["before"]["architectures"]
    assert "2 architectures" in receipt["notes"][0]
    assert "2 architectures" in next(m for m in said if m["type"] == "note")["message"]

    snapshot = tmp_path / "snapshot"
    with pytest.raises(Interrupted):
        refinement("a", snapshot=snapshot, wish=lambda: Wish.LEAVE if snapshot.exists() else Wish.GO_ON).run()
    resumed = refinement("b", snapshot=snapshot).run()
    assert resumed["weights"]["sha256"] == receipt["weights"]["sha256"]
    assert resumed["before"] == receipt["before"]
    assert any("2 architectures" in note for note in resumed["notes"])
