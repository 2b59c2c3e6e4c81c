from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import AgentConfig, checked, read_config
from hw.config import ReplayConfig, SimulatedConfig
from user_lib.contract.errors import ConfigError

Read = Callable[[str], AgentConfig]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str) -> AgentConfig:
        path = tmp_path / "agent.yaml"
        path.write_text(text)
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
        ("{}\n", "profile"),
        ("profile: x\nhistory: 3\n", "history_mb"),
        ("profile: x\nslots: 0\n", "slots"),
        ("profile: x\npolicy: {accept_custom: true}\n", "accepts_custom"),
        ("profile: x\npolicy: {limits: {cpu: 1}}\n", "cpu_s"),
        ("profile: x\nvehicle_id: 'a b'\n", "vehicle_id"),
        ("profile: x\ncloud: somewhere\n", "cloud: "),
        ("profile: x\ncloud: tcp://10.0.0.1:5570\n", "insecure: true"),
        ("profile: x\nexternal_methods: {'a b': [c]}\n", "external_methods"),
        ("profile: x\nexternal_methods: {ab: []}\n", "external_methods.ab"),
        ("profile: x\nsources: [{kind: tape}]\n", "sources"),
        ("- profile\n", "not a mapping"),
    ],
)
def test_what_cannot_hold_is_refused_by_its_key(read: Read, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)

    assert words in str(caught.value)


def test_a_cloud_elsewhere_needs_the_owners_word(read: Read) -> None:
    assert read("profile: x\ncloud: tcp://10.0.0.1:5570\ninsecure: true\n").insecure
