"""The version that is told is the one that is installed."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import user_lib
from user_lib.wire.version import installed_version


def test_it_is_what_the_packaging_says() -> None:
    assert installed_version() == user_lib.__version__ == version("oodida")


def test_the_first_on_the_path_counts_and_none_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in (("a", "oodida-1.2.3+local.dist-info"), ("b", "oodida-9.dist-info")):
        (tmp_path / place / name).mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b")])
    assert installed_version.__wrapped__() == "1.2.3+local"
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed_version.__wrapped__() == "0+uninstalled"
