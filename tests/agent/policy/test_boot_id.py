from pathlib import Path

from agent.policy.allowance import boot_id


def test_a_unit_that_hides_the_kernels_file_tells_the_boot_in_the_same_form(tmp_path: Path) -> None:
    file = tmp_path / "boot_id"
    file.write_text("6f1c-22\n")

    assert boot_id({}, file) == boot_id({"OODIDA_BOOT_ID": "6f1c22"}, tmp_path / "hidden")


def test_where_nobody_tells_each_start_counts_as_a_boot(tmp_path: Path) -> None:
    assert boot_id({}, tmp_path / "hidden") != boot_id({}, tmp_path / "hidden")
