"""The images behave as the official ones do, as far as the stack and testcontainers need it."""

import subprocess

import psycopg
import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


def connect(container: PostgresContainer, **changes: str) -> psycopg.Connection:
    settings = {
        "host": container.get_container_host_ip(),
        "port": str(container.get_exposed_port(container.port)),
        "user": container.username,
        "password": container.password,
        "dbname": container.dbname,
        "connect_timeout": "10",
    }
    return psycopg.connect(**(settings | changes))


def test_postgres_honours_user_password_and_database(second_postgres: PostgresContainer) -> None:
    with connect(second_postgres) as connection:
        user, database, version = connection.execute(
            "SELECT current_user, current_database(), current_setting('server_version_num')::int"
        ).fetchone()
        assert (user, database) == ("second-user", "second-db")
        assert version // 10000 == 18
        connection.execute("CREATE TABLE kept (amount_minor bigint)")
        connection.execute("INSERT INTO kept VALUES (12345)")
    with connect(second_postgres) as connection:
        assert connection.execute("SELECT sum(amount_minor) FROM kept").fetchone() == (12345,)


def test_postgres_refuses_a_wrong_password(second_postgres: PostgresContainer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(second_postgres, password="another")


def test_postgres_keeps_acknowledged_rows_over_a_kill(second_postgres: PostgresContainer) -> None:
    with connect(second_postgres) as connection:
        connection.execute("CREATE TABLE kept (amount_minor bigint)")
        connection.execute("INSERT INTO kept VALUES (7)")
    container = second_postgres.get_wrapped_container()
    container.kill("SIGKILL")
    container.start()
    second_postgres._connect()  # waits until it answers a query
    # The engine chose the published port anew.
    with connect(second_postgres) as connection:
        assert connection.execute("SELECT amount_minor FROM kept").fetchall() == [(7,)]


def test_postgres_takes_server_options(images: dict[str, str], run_label: str) -> None:
    container = PostgresContainer(
        images["postgres"], driver=None, labels={"stormproof.run": run_label}
    ).with_command("-c max_connections=17")
    with container, connect(container) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("17",)


def test_postgres_without_a_password_does_not_start(images: dict[str, str]) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", images["postgres"]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "POSTGRES_PASSWORD" in done.stdout + done.stderr


def test_valkey_serves_the_redis_protocol(images: dict[str, str], run_label: str) -> None:
    container = RedisContainer(
        images["valkey"], password="secret", labels={"stormproof.run": run_label}
    )
    with container:
        client = container.get_client(socket_timeout=10)
        assert client.set("key", "1")
        assert client.incr("key") == 2
        assert client.info("server")["valkey_version"].startswith("9.")
