"""Files that appear whole or not at all."""

from __future__ import annotations

import pytest

from mlpot.atomic import replacing


def test_new_content_takes_the_place_of_the_old_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.json"
    with replacing(path) as partial:
        partial.write_text("one")
        assert not path.exists() and partial.suffix == ".json" and partial.parent == path.parent
    with replacing(path) as partial:
        partial.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.xyz"]
