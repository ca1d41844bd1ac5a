"""``sojourn export`` and ``sojourn load``."""

import json

from tests.cli.conftest import User


def test_what_is_exported_is_loaded_the_same(user: User, talk: str) -> None:
    user.fine("conversation", "link", talk, "telegram", "t1")
    user.fine("conversation", "consolidate", talk, "--keep", "1")
    text = user.fine("export").out
    assert user.fine("load", "-", "--store", "copy.db", stdin=text).out == "Loaded 1 session with 4 entries and 1 link.\n"
    ours = user.fine("conversation", "show", talk, "--unfold", "--json").data
    theirs = user.fine("conversation", "show", talk, "--unfold", "--json", "--store", "copy.db").data
    assert {**ours, "version": 0} == {**theirs, "version": 0}
    hits = user.fine("conversation", "search", "invoice", "--store", "copy.db", "--json").data
    assert 2 in [hit["message"]["sequence"] for hit in hits]
    assert user.append("goes on", "--store", "copy.db") == talk


def test_loading_twice_stores_nothing_twice(user: User, talk: str) -> None:
    user.fine("export", "--output", "all.jsonl")
    user.fine("load", "all.jsonl", "--store", "copy.db")
    result = user.fine("load", "all.jsonl", "--store", "copy.db", "--json")
    assert result.data == {"sessions": 0, "entries": 0, "links": 0, "present": 1}
    assert "1 session left as found" in user.fine("load", "all.jsonl").out


def test_export_of_one_person(user: User, talk: str) -> None:
    user.append(user="bob")
    lines = [json.loads(line) for line in user.fine("export", "--owner", "bob").lines]
    assert {line["owner"] for line in lines if line.get("type") == "session"} == {"bob"}
    assert len(user.fine("export", "--kind", "game").lines) == 1


def test_an_export_file_is_private_and_whole(user: User, talk: str) -> None:
    user.fine("export", "--output", "all.jsonl")
    target = user.project / "all.jsonl"
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.read_text() == user.fine("export").out
    assert user("export", "--output", "all.jsonl").code == 2
    assert user.fine("export", "--output", "all.jsonl", "--yes", "--json").data["bytes"] == target.stat().st_size


def test_what_is_no_export_makes_no_store(user: User, talk: str) -> None:
    (user.project / "text").write_text("hello\n")
    for words, stdin in (
        (["text"], b""),
        (["-"], b""),
        (["-"], b"[1]\n"),
        (["-"], b"\xff\xfe\n"),
        (["-"], b'{"format":"x"}\n'),
    ):
        result = user("load", *words, "--store", "copy.db", stdin=stdin)
        assert result.code in (1, 2), result.err
    assert not (user.project / "copy.db").exists()


def test_a_damaged_line_is_named(user: User, talk: str) -> None:
    head, *rest = user.fine("export").lines
    result = user("load", "-", "--store", "copy.db", stdin="\n".join([head, rest[0], "{broken"]))
    assert result.code == 1
    assert "line 3" in result.err
    assert "line 2 is not UTF-8" in user("load", "-", "--store", "copy.db", stdin=f"{head}\n".encode() + b"\xff\n").err


def test_a_dry_run_reads_the_file_and_makes_no_store(user: User, talk: str) -> None:
    text = user.fine("export").out
    assert "The file has 1 session with 3 entries" in user.fine("load", "-", "--store", "copy.db", "--dry-run", stdin=text).out
    assert not (user.project / "copy.db").exists()
