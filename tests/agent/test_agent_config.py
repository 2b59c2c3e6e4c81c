import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import AgentConfig, checked, read_config
from agent.policy import Policy
from hw.config import ReplayConfig, SimulatedConfig
from user_lib.contract.errors import ConfigError
from user_lib.wire.keys import create_keys, write_keys

Read = Callable[[str], AgentConfig]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str) -> AgentConfig:
        path = tmp_path / "agent.yaml"
        path.write_text(text if "keys:" in text else f"{text}insecure: true\n")
        return checked(read_config(path))

    return read


def test_only_the_profile_must_be_given(read: Read, tmp_path: Path) -> None:
    config = read("profile: compact\n")

    assert config.vehicle_id
    assert config.state_dir == "/var/lib/oodida-agent"
    assert config.profile_dirs == (str(tmp_path.resolve()),)


def test_relative_paths_are_relative_to_the_file(read: Read, tmp_path: Path) -> None:
    config = read(
        "profile: x\nstate_dir: st\nprofile_dirs: [p, /q]\n"
        "external_methods: {a: [bin/a, -v], b: [awk, x/y], c: [/opt/c]}\n"
        "sources: [{kind: replay, log: d.log}, "
        "{kind: simulated, model: m, speed_table: t.csv}]\n"
    )

    here = str(tmp_path.resolve())
    assert config.state_dir == f"{here}/st"
    assert config.profile_dirs == (f"{here}/p", "/q")
    assert config.external_methods == {
        "a": (f"{here}/bin/a", "-v"),
        "b": ("awk", "x/y"),
        "c": ("/opt/c",),
    }
    assert config.sources == (
        ReplayConfig(log=f"{here}/d.log"),
        SimulatedConfig(model="m", speed_table=f"{here}/t.csv"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slots: 1\n", "profile"),
        ("profile: x\nhistory: 3\n", "history_mb"),
        ("profile: x\nslots: 0\n", "slots"),
        ("profile: x\npolicy: {accept_custom: true}\n", "accepts_custom"),
        ("profile: x\npolicy: {limits: {cpu: 1}}\n", "cpu_s"),
        ("profile: x\npolicy: {methods: [maen]}\n", "did you mean mean"),
        ("profile: x\npolicy: {methods: [mean]}\npolicy_file: p.yaml\n", "keep one of the two"),
        ("profile: x\npolicy_file: nowhere.yaml\n", "nowhere.yaml: cannot be read"),
        ("profile: x\npolicy: {analysts: [{rule: budget, who: [a]}]}\n", "name of a key"),
        ("profile: x\nvehicle_id: 'a b'\n", "vehicle_id"),
        ("profile: x\ncloud: somewhere\n", "cloud: "),
        ("profile: x\ncloud: tcp://10.0.0.1:5570\n", "can be reached from other machines"),
        ("profile: x\nkeys: {own: a.key}\n", "keys: Object missing required field"),
        ("profile: x\nexternal_methods: {'a b': [c]}\n", "external_methods"),
        ("profile: x\nexternal_methods: {ab: []}\n", "external_methods.ab"),
        ("profile: x\nsources: [{kind: tape}]\n", "sources"),
        ('profile: x\ntags: {owner: "\\e[2J"}\n', "tags: 'owner': '\\x1b[2J' holds characters"),
        ('profile: x\ntags: {"a\\u202e": b}\n', "tags: 'a\\u202e'"),
    ],
)
def test_what_cannot_hold_is_refused_by_its_key(read: Read, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)

    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "# none yet\n", "null\n", "{}\n"])
def test_an_empty_policy_file_is_not_taken_for_one_that_allows_everything(
    read: Read, tmp_path: Path, text: str
) -> None:
    (tmp_path / "p.yaml").write_text(text)

    with pytest.raises(ConfigError, match=r"p\.yaml: is empty, and so would allow everything"):
        read("profile: x\npolicy_file: p.yaml\n")


def test_a_policy_file_may_say_that_all_is_allowed(read: Read, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("otherwise: raw\n")

    assert read("profile: x\npolicy_file: p.yaml\n").policy == Policy()


def with_keys(folder: Path, **more: str) -> str:
    write_keys(create_keys("kona-1", "vehicle"), folder)
    write_keys(create_keys("ada", "analyst"), folder)
    keys = {"own": "kona-1.key", "cloud": "cloud.pub", "analysts": "trusted"}
    return f"profile: x\nkeys: {json.dumps({**keys, **more})}\n"


def test_a_vehicle_is_named_by_its_keys(read: Read, tmp_path: Path) -> None:
    config = read(with_keys(tmp_path) + "cloud: tcp://10.0.0.1:5570\n")

    assert config.vehicle_id == "kona-1"
    assert config.keys is not None
    assert config.keys.analysts == str(tmp_path / "trusted")


def test_a_vehicle_has_no_other_name_than_its_keys(read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vehicle_id: kona-2 is not the name on the keys .*-1"):
        read(with_keys(tmp_path) + "vehicle_id: kona-2\n")


def test_another_roles_keys_are_refused(read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is of the analyst ada; needed is one of: vehicle"):
        read(with_keys(tmp_path, own="ada.key"))


def test_keys_and_insecure_exclude_each_other(read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        read(with_keys(tmp_path) + "insecure: true\n")


def test_the_example_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "systemd" / "agent.example.yaml").read_text()

    assert [k for k in AgentConfig.__struct_fields__ if not re.search(rf"\b{k}:", text)] == []
