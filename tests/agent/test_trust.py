"""A router in an attacker's hands against the orders of a vehicle: it can delay, not forge."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.trust import Trust, Untrusted
from user_lib.contract.code import version_of
from user_lib.contract.messages import Assign, SetCode, Withdraw
from user_lib.contract.signed import CancelOrder, Signed, SlotOrder, assignment_id_of, order_of
from user_lib.contract.signing import seal
from user_lib.contract.validation import parse
from user_lib.wire.enrolment import enrol, revoke
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import Keys, create_keys

ADA, EVE = create_keys("ada", "analyst"), create_keys("eve", "analyst")
SPEC = parse({"signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 10}})
SOURCE = "def custom(xs):\n    return 1\n"
VERSION = version_of(SOURCE)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    enrol(ADA.card, tmp_path)
    return Trust("kona-1", Keyring(tmp_path, "analyst"))


def assign(keys: Keys = ADA, vehicles: object = "all", **changes: object) -> Assign:
    spec = parse({**SPEC.to_dict(), "vehicles": vehicles})
    signed = seal(order_of(keys.card.name, "t", spec, 1), keys.sign)
    plain = Assign(
        assignment_id=assignment_id_of(keys.card.name, "t"), analyst=keys.card.name, signed=signed
    )
    return replace(plain, **changes)


def code(keys: Keys = ADA, *, to: dict[str, object] | None = None, **order: object) -> SetCode:
    fields: dict[str, object] = {
        "analyst": keys.card.name,
        "side": "onboard",
        "generation": 2,
        "version": VERSION,
        "created_ns": 1,
        **order,
    }
    signed = seal(SlotOrder(**fields), keys.sign)  # type: ignore[arg-type]
    given = SetCode(
        analyst=keys.card.name, generation=2, version=VERSION, source=SOURCE, signed=signed
    )
    return replace(given, **(to or {}))


def test_what_a_trusted_analyst_signed_is_taken(trust: Trust) -> None:
    assert trust.spec_of(assign()).onboard == "mean"
    assert trust.spec_of(assign(vehicles=["kona-1", "kona-2"])).vehicles == "all"
    trust.check_code(code())


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (assign(EVE), "untrusted"),
        (assign(signed=None), "unsigned"),
        (assign(signed=None, spec=SPEC), "unsigned"),
        (assign(signed=assign(EVE).signed), "bad_signature"),
        (assign(assignment_id="job-another"), "bad_signature"),
        (assign(signed=Signed(body=b"\xc1", signature=bytes(64))), "bad_signature"),
        (assign(signed=Signed(body=b"\xc1", signature=ADA.sign(b"\xc1"))), "bad_signature"),
        (assign(vehicles=["kona-2"]), "bad_signature"),
        (assign(signed=code().signed), "bad_signature"),
    ],
)
def test_any_other_assignment_is_refused_with_its_reason(
    trust: Trust, order: Assign, reason: str
) -> None:
    with pytest.raises(Untrusted) as caught:
        trust.spec_of(order)

    assert caught.value.reason == reason


def test_the_content_beside_a_signature_does_not_count(trust: Trust) -> None:
    other = parse({**SPEC.to_dict(), "onboard": "collect"})

    assert trust.spec_of(assign(spec=other)).onboard == "mean"


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (code(EVE), "untrusted"),
        (code(to={"signed": None}), "unsigned"),
        (code(to={"signed": code(EVE).signed}), "bad_signature"),
        (code(to={"generation": 3}), "bad_signature"),
        (code(generation=1), "bad_signature"),
        (code(side="offboard"), "bad_signature"),
        (code(overrides={"kona-1": "0" * 64}), "bad_signature"),
        (code(to={"source": ""}), "bad_signature"),
        (code(version="", to={"version": ""}), "bad_signature"),
        (code(to={"signed": assign().signed}), "bad_signature"),
    ],
)
def test_any_other_code_is_refused_with_its_reason(
    trust: Trust, order: SetCode, reason: str
) -> None:
    with pytest.raises(Untrusted) as caught:
        trust.check_code(order)

    assert caught.value.reason == reason


def test_a_vehicle_gets_the_version_that_was_signed_for_it(trust: Trust) -> None:
    trust.check_code(code(version="0" * 64, overrides={"kona-1": VERSION}))


def test_the_owners_word_counts_at_once(trust: Trust, tmp_path: Path) -> None:
    enrol(EVE.card, tmp_path)
    assert trust.spec_of(assign(EVE)).onboard == "mean"

    revoke("eve", tmp_path)
    while trust.trusts("eve"):
        trust.refresh()
    with pytest.raises(Untrusted, match="does not trust eve; the key was revoked there, which is"):
        trust.spec_of(assign(EVE))


def test_a_vehicles_key_signs_no_orders(tmp_path: Path) -> None:
    ada = create_keys("ada", "vehicle")
    enrol(ada.card, tmp_path)

    with pytest.raises(Untrusted, match="does not trust ada; `oodida keys enrol CARD"):
        Trust("kona-1", Keyring(tmp_path, "analyst")).spec_of(assign(ada))


def cancel(keys: Keys = ADA, job: str = "job-1", **changes: object) -> Withdraw:
    order = CancelOrder(analyst=keys.card.name, assignment_id=job, created_ns=1)
    plain = Withdraw(assignment_id=job, reason="cancelled", signed=seal(order, keys.sign))
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (cancel(signed=None), "signed orders only"),
        (cancel(EVE), "not of ada"),
        (cancel(job="job-2", assignment_id="job-1"), "cancelled was job-2"),
        (cancel(signed=assign().signed), "signature of the cancel"),
    ],
)
def test_only_its_analyst_cancels_a_task(trust: Trust, order: Withdraw, words: str) -> None:
    trust.check_cancel(cancel(), "ada")

    with pytest.raises(Untrusted, match=words):
        trust.check_cancel(order, "ada")


def test_without_keys_orders_are_taken_as_they_are() -> None:
    open_trust = Trust("kona-1", None)

    assert open_trust.spec_of(assign(signed=None, spec=SPEC)) == SPEC
    open_trust.check_code(code(to={"signed": None}))
    assert not open_trust.refresh()


DAY_NS = 86_400 * 1_000_000_000
MAY_NS = 1_777_593_600_000_000_000  # 2026-05-01


def expiring(now_ns: int | None, folder: Path, until: str = "") -> Trust:
    enrol(replace(ADA.card, not_after=until), folder)
    return Trust("kona-1", Keyring(folder, "analyst"), lambda: now_ns)


def until_may() -> Assign:
    spec = replace(SPEC, not_after="2026-05-01T00:00:00Z")
    return replace(assign(), signed=seal(order_of("ada", "t", spec, 1), ADA.sign))


def test_an_assignment_is_not_begun_after_its_end_by_a_trusted_clock(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="not to begin after 2026-05-01") as caught:
        expiring(MAY_NS, tmp_path).spec_of(until_may())

    assert caught.value.reason == "expired"
    assert expiring(MAY_NS - DAY_NS, tmp_path).spec_of(until_may()).onboard == "mean"


def test_by_a_clock_that_cannot_be_trusted_nothing_expires_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trust = expiring(None, tmp_path, until="2020-01-01")

    assert trust.spec_of(until_may()).onboard == "mean"
    assert "clock cannot be trusted" in caplog.text


def test_code_is_not_armed_after_its_end(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="code of ada") as caught:
        expiring(MAY_NS, tmp_path).check_code(code(not_after_ns=MAY_NS))

    assert caught.value.reason == "expired"
    expiring(MAY_NS, tmp_path).check_code(code(not_after_ns=MAY_NS + 1))


def test_a_key_that_was_trusted_until_a_day_gives_no_new_orders_later(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="until 2026-05-01") as caught:
        expiring(MAY_NS, tmp_path, until="2026-05-01").spec_of(assign())
    assert caught.value.reason == "expired_key"
    with pytest.raises(Untrusted):
        expiring(MAY_NS, tmp_path, until="2026-05-01").check_code(code())

    assert expiring(MAY_NS, tmp_path, until="2026-06-01").spec_of(assign()).onboard == "mean"
    assert expiring(MAY_NS, tmp_path).trusts("ada")
