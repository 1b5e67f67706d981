"""What the service says about itself."""

from __future__ import annotations

from collections.abc import Callable

from lastsam_core.presets import PRESETS
from lastsam_core.recipe import Recipe
from tests.factories import write_tiny_npz
from tests.service.conftest import Api


def test_the_schema_is_the_recipe(api: Api) -> None:
    schema = api.get("/recipes/schema").json()
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["properties"].keys() == Recipe.model_fields.keys()


def test_presets_can_be_sent_as_they_are(api: Api) -> None:
    rows = api.get("/recipes/presets").json()["data"]
    assert [row["name"] for row in rows] == list(PRESETS)
    for row in rows:
        spec = {**row["spec"], "data": {**row["spec"].get("data", {}), "name": "digits"}}
        assert api.post("/jobs/validate", json={"spec": spec}).status_code == 200
        assert Recipe.model_validate(row["spec_resolved"]).resolved() == Recipe.model_validate(row["spec"]).resolved()


def test_architectures_and_datasets(new_api: Callable[..., Api]) -> None:
    api = new_api()
    names = [row["name"] for row in api.get("/architectures").json()["data"]]
    assert "resnet20-a" in names
    assert "wrn-28-10" in names
    write_tiny_npz(api.here.data_dir)
    rows = {row["name"]: row for row in api.get("/datasets").json()["data"]}
    assert rows["digits"]["prepared"]
    assert not rows["cifar10"]["prepared"]
    assert (rows["tiny"]["train"], rows["tiny"]["image"], rows["tiny"]["classes"]) == (200, [32, 32, 3], 10)
