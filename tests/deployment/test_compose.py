"""The compose file says what it should. No Docker engine takes part: it is parsed."""

from __future__ import annotations

import json
import re

import pytest

from tests.deployment.files import COMPOSE, SERVICES, TARGETS, last


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_held_tight(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "/tmp" in service["tmpfs"]
    assert "privileged" not in service
    assert "cap_add" not in service
    assert service.get("user", "10001") not in {"root", "0"}
    assert not [volume for volume in service["volumes"] if "docker.sock" in volume]


def test_only_the_api_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["service"]
    assert all(port.startswith("127.0.0.1:") for port in published["service"])
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if service["networks"] != ["backend"]} == {"service"}


def test_nothing_starts_before_what_it_needs_is_healthy() -> None:
    for name, service in SERVICES.items():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            watched = "healthcheck" in SERVICES[other] or "build" in SERVICES[other]
            assert watched, f"{name} waits for {other}, which nobody watches"
    assert set(SERVICES["service"]["depends_on"]) == {"postgres", "redis"}
    assert "service" in SERVICES["worker"]["depends_on"]


def test_passwords_are_in_files_and_each_reaches_only_who_needs_it() -> None:
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    urls = ["lastsam_database_url", "lastsam_broker_url"]
    expected = {"service": urls, "worker": urls, "worker-gpu": urls}
    expected |= {"redis": ["redis_password"], "postgres": ["postgres_password"]}
    assert {name: service["secrets"] for name, service in SERVICES.items()} == expected
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert name.endswith("_FILE") or not re.search("PASSWORD|SECRET|TOKEN|URL", name), (name, value)


def test_the_databases_keep_what_they_are_given() -> None:
    redis = SERVICES["redis"]["command"][-1]
    for option in ("--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction", "requirepass"):
        assert option in redis
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]  # 18 moved its data one level up
    named = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert {name for name in named if not name.startswith("$")} == set(COMPOSE["volumes"])


def test_the_gpu_worker_is_the_worker_with_a_gpu_and_starts_only_when_asked_for() -> None:
    gpu, cpu = SERVICES["worker-gpu"], SERVICES["worker"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    ]
    same = gpu.keys() - {"build", "image", "profiles", "deploy"}
    assert {name: gpu[name] for name in same} == {name: cpu[name] for name in same}
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["worker-gpu"]


def test_every_image_that_compose_builds_is_a_target_and_starts_as_there() -> None:
    built = {name: service for name, service in SERVICES.items() if "build" in service}
    assert {service["build"]["target"] for service in built.values()} == set(TARGETS)
    for service in built.values():
        assert service["command"] == json.loads(last(service["build"]["target"], "CMD"))


def test_a_worker_has_longer_to_stop_than_it_needs() -> None:
    assert SERVICES["worker"]["stop_grace_period"] == "60s"  # celery's soft shutdown takes up to 30
