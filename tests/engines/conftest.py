"""Servers for the tests of engines: one PostgreSQL for all files, with an empty store for each test."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count

import pytest

from sojourn.testing.engines import empty_postgres
from sojourn.testing.servers import Server, ServerMissingError, find_postgres, postgres_server

_schemas = count(1)


@pytest.fixture(scope="session")
def postgres() -> Generator[Server]:
    """A PostgreSQL that is left running."""
    try:
        find_postgres()
    except ServerMissingError as missing:
        pytest.skip(str(missing))
    with postgres_server() as running:
        yield running


@pytest.fixture
def schema_name() -> str:
    """A schema that no other test has."""
    return f"own_{next(_schemas)}"


@pytest.fixture
def store_url(postgres: Server, schema_name: str) -> Generator[str]:
    """An empty store: a schema that the connection finds by itself."""
    import psycopg

    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"create schema {schema_name}".encode())
    yield f"{postgres.url}?options=-csearch_path%3D{schema_name}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"drop schema {schema_name} cascade".encode())


@pytest.fixture(scope="session")
def reused_schema(postgres: Server) -> str:
    """A schema for many tests, one after the other."""
    import psycopg

    name = f"reused_{next(_schemas)}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"create schema {name}".encode())
    return name


@pytest.fixture
def reused_url(postgres: Server, reused_schema: str) -> str:
    """An empty store that need not be made anew."""
    empty_postgres(postgres.url, reused_schema)
    return f"{postgres.url}?options=-csearch_path%3D{reused_schema}"
