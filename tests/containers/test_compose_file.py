"""The compose file itself: it parses, it is closed to the outside, and no link is missed."""

import json
import os
import re
import subprocess
from urllib.parse import urlsplit

import pytest
import yaml

from .conftest import NO_ENGINE, ROOT, compose_commands

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

FILE = ROOT / "docker-compose.chaos.yml"
COMPOSE = yaml.safe_load(FILE.read_text())
PROXIES = json.loads((ROOT / "containers/proxy/proxies.json").read_text())
PROCESSES = ("api-1", "api-2", "worker", "relay", "sweeper")


def test_parses_under_every_compose_that_is_installed() -> None:
    commands = compose_commands()
    if not commands:
        pytest.skip(NO_ENGINE)
    for command in commands:
        done = subprocess.run(
            [*command, "-p", "parse", "-f", FILE, "config"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"STORMPROOF_RUN_ID": "run-7", "STORMPROOF_PROXY_PORT": "18474"},
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        parsed = yaml.safe_load(done.stdout)
        assert parsed["services"].keys() == COMPOSE["services"].keys()
        assert "18474" in str(parsed["services"]["proxy"]["ports"])
        for service in parsed["services"].values():
            assert service["labels"]["stormproof.run"] == "run-7"


def test_ports_are_published_on_loopback_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 6
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{STORMPROOF_[A-Z0-9_]+_PORT:-\}:\d+", port)


def test_processes_reach_their_dependencies_only_through_links_of_their_own() -> None:
    links = {proxy["listen"].rpartition(":")[2]: proxy for proxy in PROXIES}
    used = set()
    for name in PROCESSES:
        environment = COMPOSE["services"][name]["environment"]
        addresses = {key: value for key, value in environment.items() if "://" in value}
        assert addresses, f"{name} has no dependency"
        for key, address in addresses.items():
            target = urlsplit(re.sub(r"\$\{[^}]*\}", "pw", address))
            assert target.hostname == "proxy", f"{name}: {key}={address}"
            link = links[str(target.port)]
            dependency = {"DATABASE": "postgres", "REDIS": "redis", "PARTNER": "partner"}[
                key.split("_")[1]
            ]
            assert link["name"] == f"{name}-{dependency}"
            used.add(link["name"])
    clients = {"client-api-1", "client-api-2"}
    assert used | clients == {proxy["name"] for proxy in PROXIES}


def test_only_the_task_of_the_set_up_owns_the_database() -> None:
    owner = COMPOSE["services"]["migrate"]["environment"]
    password = owner["INVESTMENT_APP_PASSWORD"]
    assert "//stormproof:" in owner["INVESTMENT_DATABASE_URL"]
    for name in PROCESSES:
        environment = COMPOSE["services"][name]["environment"]
        assert f"//investment_app:{password}@" in environment["INVESTMENT_DATABASE_URL"], name
        assert "INVESTMENT_APP_PASSWORD" not in environment


def test_every_upstream_is_a_service() -> None:
    for proxy in PROXIES:
        assert proxy["upstream"].partition(":")[0] in COMPOSE["services"]
