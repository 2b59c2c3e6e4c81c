from pathlib import Path

import pytest

from user_lib.contract.errors import ConfigError
from user_lib.settings import DEFAULT_CLOUD, Given, config_path, load_settings


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "OODIDA_INSECURE": "1", **more}


def write(home: Path, text: str) -> None:
    path = home / ".config" / "oodida" / "analyst.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_without_anything_the_cloud_is_this_machine(tmp_path: Path) -> None:
    settings = load_settings(environ=environ(tmp_path))

    assert settings.cloud == DEFAULT_CLOUD
    assert settings.timeout_s == 5.0


def test_arguments_win_over_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, "cloud: tcp://127.0.0.1:1\nuser: from-file\ntimeout_s: 9\n")
    with_env = environ(tmp_path, OODIDA_CLOUD="tcp://127.0.0.1:2", OODIDA_USER="from-env")

    given = Given(cloud="tcp://127.0.0.1:3", user="ada")
    assert load_settings(environ=environ(tmp_path)).cloud == "tcp://127.0.0.1:1"
    assert load_settings(environ=environ(tmp_path)).user == "from-file"
    assert load_settings(environ=environ(tmp_path)).timeout_s == 9.0
    assert load_settings(environ=with_env).cloud == "tcp://127.0.0.1:2"
    assert load_settings(environ=with_env).user == "from-env"
    assert load_settings(given, environ=with_env).cloud == "tcp://127.0.0.1:3"
    assert load_settings(given, environ=with_env).user == "ada"


def test_a_wrong_key_in_the_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path, "clout: tcp://127.0.0.1:1\n")

    with pytest.raises(ConfigError, match=r"analyst\.yaml: clout: no such key.*cloud"):
        load_settings(environ=environ(tmp_path))


def test_the_file_is_looked_for_under_xdg_config_home(tmp_path: Path) -> None:
    found = config_path({"HOME": "/home/ada", "XDG_CONFIG_HOME": str(tmp_path)})

    assert found == tmp_path / "oodida" / "analyst.yaml"


def test_a_name_that_cannot_be_a_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'ada lovelace' cannot name a user"):
        load_settings(Given(user="ada lovelace"), environ=environ(tmp_path))
