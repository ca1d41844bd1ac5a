"""``sojourn bench``: figures for a store of one's own, which is left as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

import sojourn
from sojourn.cli import main
from sojourn.testing.engines import EnginePlaces


@pytest.mark.slow
@pytest.mark.parametrize("engine", [name for name in EnginePlaces.available() if name != "memory"])
def test_every_row_is_measured_and_nothing_stays(engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with EnginePlaces() as places:
        place = places.fresh(engine, tmp_path)
        url = place.url + "".join(f"?{name}={value}" for name, value in place.options.more.items() if name == "schema")
        with sojourn.open(url) as store:
            kept = store.conversations.create("ann").id
        assert main(["bench", "--store", url, "--seconds", "0.05", "--callers", "5", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["data"]["rows"]
        assert {(row["callers"], row["colour"]) for row in rows} == {(1, "blocking"), (5, "blocking"), (5, "async")}
        assert all(row["operations"] > 0 and 0 < row["median_ms"] <= row["p99_ms"] for row in rows)
        assert main(["bench", "--store", url, "--seconds", "0.05", "--callers", "2"]) == 0
        assert "PER SECOND" in capsys.readouterr().out
        with sojourn.open(url) as store:
            if engine == "redis":  # which does not count them: looked at from outside
                with redis.Redis.from_url(url.partition("?")[0]) as client:
                    prefix = url.partition("prefix=")[2]
                    assert len([key for key in client.scan_iter(f"{prefix}{{*", count=10_000) if b":s:" in key]) == 1
            else:
                assert store.facts()["sessions"] == 1
            assert store.conversations.get(kept) is not None


def test_what_cannot_be_measured_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "x.db")
    assert main(["bench", "--store", store, "--seconds", "0"]) != 0
    assert "--seconds" in capsys.readouterr().err
    assert main(["bench", "--store", store, "--dry-run"]) == 0
    assert "Would measure" in capsys.readouterr().out
    assert not (tmp_path / "x.db").exists()
