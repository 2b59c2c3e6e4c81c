from collections.abc import Callable
from pathlib import Path

import pytest

from dbc import Catalog, DatabaseRef, load
from user_lib.contract.errors import UnknownSignal

ENGINE = 'BO_ 256 Engine: 8 A\n SG_ Speed : 0|16@1+ (1,0) [0|9000] "rpm" B\n\n'


@pytest.fixture
def wagon(demo_files: Path) -> Catalog:
    refs = [
        DatabaseRef(demo_files / "wagon_drive.dbc", "can0"),
        DatabaseRef(demo_files / "wagon_comfort.dbc", "can1"),
    ]
    return load(refs, mapping=demo_files / "wagon.vspec", strict=True)


def test_a_name_is_a_vss_path_or_message_and_signal(wagon: Catalog) -> None:
    by_path = wagon.resolve("Vehicle.Speed")
    by_name = wagon.resolve("Bcs_Motion.Bcs_VehSpd")
    qualified = wagon.resolve("can0:Bcs_Motion.Bcs_VehSpd")

    assert (by_path.message, by_path.column) == (by_name.message, by_name.column)
    assert (qualified.message, qualified.column) == (by_name.message, by_name.column)
    assert by_path.transform is not None
    assert (by_path.unit, by_name.unit, by_name.transform) == ("km/h", "m/s", None)


def test_an_unknown_name_brings_the_nearest_ones(wagon: Catalog) -> None:
    with pytest.raises(UnknownSignal, match=r"did you mean Vehicle\.Speed") as caught:
        wagon.resolve("Vehicle.Sped")
    assert caught.value.near[0] == "Vehicle.Speed"

    with pytest.raises(UnknownSignal) as caught:
        wagon.resolve("bcs_vehspd")
    assert "Vehicle.Speed" in caught.value.near or "Bcs_Motion.Bcs_VehSpd" in caught.value.near


def test_the_wrong_channel_is_an_unknown_name(wagon: Catalog) -> None:
    with pytest.raises(UnknownSignal):
        wagon.resolve("can1:Bcs_Motion.Bcs_VehSpd")


def test_signals_are_listed_once_by_their_preferred_name(wagon: Catalog) -> None:
    listed = {s.name: s for s in wagon.signals()}

    assert listed["Vehicle.Speed"].vss
    assert "Bcs_Motion.Bcs_VehSpd" not in listed
    assert listed["Tcu_State.Tcu_Lever"].choices[3] == "D"
    assert listed["Tcu_State.Tcu_Lever"].channel == "can0"
    assert len(listed) == sum(len(m.signals) for m in wagon.messages)
    for name in listed:
        assert wagon.resolve(name).name == name


def test_a_message_of_every_channel_is_laid_out_for_each(
    catalog_of: Callable[..., Catalog],
) -> None:
    bound = catalog_of(ENGINE).bind(["can0", "can1"])

    assert [m.channel for m in bound.messages] == ["can0", "can1"]
    with pytest.raises(UnknownSignal, match=r"can0:Engine\.Speed or can1:Engine\.Speed"):
        bound.resolve("Engine.Speed")
    assert bound.resolve("can1:Engine.Speed").message == 1
    assert {s.name for s in bound.signals()} == {"can0:Engine.Speed", "can1:Engine.Speed"}


def test_a_database_of_one_channel_counts_before_one_of_all(tmp_path: Path) -> None:
    header = 'VERSION ""\nNS_ :\nBS_:\nBU_:\n'
    general, special = tmp_path / "general.dbc", tmp_path / "special.dbc"
    general.write_text(header + ENGINE)
    special.write_text(header + ENGINE.replace("Engine", "Motor"))
    refs = [DatabaseRef(special, "can0"), DatabaseRef(general)]

    bound = load(refs).bind(["can0", "can1"])

    assert {(m.channel, m.name) for m in bound.messages} == {("can0", "Motor"), ("can1", "Engine")}


def test_the_later_of_two_messages_with_one_id_counts(catalog_of: Callable[..., Catalog]) -> None:
    catalog = catalog_of(ENGINE + ENGINE.replace("Engine", "Motor").replace("0|16", "8|16"))

    assert [m.name for m in catalog.messages] == ["Motor"]
    assert "has the id of Engine" in catalog.repairs[0].what


def test_two_messages_of_one_name_stay_apart(catalog_of: Callable[..., Catalog]) -> None:
    catalog = catalog_of(ENGINE + ENGINE.replace("256", "257"))

    assert [m.name for m in catalog.messages] == ["Engine", "Engine_101"]


def test_the_hash_covers_content_channels_and_mapping_but_no_order(demo_files: Path) -> None:
    drive = DatabaseRef(demo_files / "wagon_drive.dbc", "can0")
    comfort = DatabaseRef(demo_files / "wagon_comfort.dbc", "can1")
    mapping = demo_files / "wagon.vspec"
    moved = DatabaseRef(demo_files / "wagon_comfort.dbc", "can2")

    first = load([drive, comfort], mapping=mapping).hash

    assert load([comfort, drive], mapping=mapping).hash == first
    assert load([drive, moved], mapping=mapping).hash != first
    assert load([drive, comfort]).hash != first
    assert load([drive], mapping=mapping).hash != first


@pytest.mark.timeout(30)
def test_names_are_found_fast_among_five_thousand_signals(
    catalog_of: Callable[..., Catalog],
) -> None:
    lines = [
        f"BO_ {number} Message{number}: 8 A\n"
        + "".join(f' SG_ Quantity{s}_{number} : {s}|1@1+ (1,0) [0|0] "" B\n' for s in range(50))
        for number in range(100)
    ]
    catalog = catalog_of("\n".join(lines))
    catalog.resolve("Message7.Quantity3_7")

    for number in range(20):  # difflib over all names would take minutes
        with pytest.raises(UnknownSignal) as caught:
            catalog.resolve(f"Message{number}.Quantty3_{number}")
        assert f"Message{number}.Quantity3_{number}" in caught.value.near
