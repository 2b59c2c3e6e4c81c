"""What is signed cannot be changed, moved, or taken for another kind of thing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from user_lib.contract.card import Card
from user_lib.contract.codec import FROM_VEHICLE
from user_lib.contract.errors import SignatureError
from user_lib.contract.messages import Deliver, Losses, Result, TaskEnded
from user_lib.contract.signed import CancelOrder, Signed, SlotOrder, assignment_id_of, order_of
from user_lib.contract.signing import (
    open_assignment,
    open_cancel,
    open_slot,
    seal,
    sign_item,
    verify_item,
)
from user_lib.contract.states import TaskState
from user_lib.contract.validation import parse
from user_lib.wire.keys import create_keys

ADA, EVE = create_keys("ada", "analyst"), create_keys("eve", "analyst")
KONA = create_keys("kona-1", "vehicle")
SPEC = parse(
    {
        "signals": ["Vehicle.Speed"],
        "onboard": "mean",
        "window": {"samples": 10},
        "vehicles": ["kona-1", "kona-2"],
    }
)
ORDER = order_of("ada", "token-1", SPEC, 5)
SLOT = SlotOrder(analyst="ada", side="onboard", generation=3, version="ab", created_ns=1)


def result(**changes: object) -> Result:
    fields: dict[str, object] = {
        "assignment_id": "job-1",
        "vehicle_id": "kona-1",
        "epoch": "e",
        "iteration": 1,
        "status": "ok",
        "value": {"Vehicle.Speed": 61.5},
        "method": "mean",
        "dbc_hash": "d",
        "window_start_ns": 0,
        "window_stop_ns": 10,
        "agent_version": "0.1",
        "created_ns": 1,
        **changes,
    }
    return Result(**fields)  # type: ignore[arg-type]


def test_an_order_that_was_opened_before_is_judged_by_the_cards_of_now() -> None:
    signed = seal(ORDER, ADA.sign)
    assert open_assignment(signed, [ADA.card]) == ORDER

    with pytest.raises(SignatureError, match="nobody is known"):
        open_assignment(signed, [])
    with pytest.raises(SignatureError, match="is not of eve"):
        open_assignment(signed, [EVE.card])
    with pytest.raises(SignatureError, match="is not of ada"):
        open_assignment(replace(signed, body=signed.body + b"x"), [ADA.card])


def test_an_order_opens_with_its_signers_card_only() -> None:
    signed = seal(ORDER, ADA.sign)

    assert open_assignment(signed, [EVE.card, ADA.card]) == ORDER
    with pytest.raises(SignatureError, match=r"is not of eve"):
        open_assignment(signed, [EVE.card])
    with pytest.raises(SignatureError, match="nobody is known"):
        open_assignment(signed, [])


def test_a_signature_of_one_kind_is_not_good_for_another() -> None:
    as_slot, as_order = seal(SLOT, ADA.sign), seal(ORDER, ADA.sign)

    with pytest.raises(SignatureError, match="signature of the assignment"):
        open_assignment(as_slot, [ADA.card])
    with pytest.raises(SignatureError, match="signature of the slot"):
        open_slot(as_order, [ADA.card])


def test_nobody_signs_in_anothers_name() -> None:
    with pytest.raises(SignatureError, match="an order of ada, signed by eve"):
        open_assignment(seal(ORDER, EVE.sign), [EVE.card])


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    signed = seal(SLOT, ADA.sign)
    whole = bytearray(signed.signature + signed.body)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    changed = Signed(body=bytes(whole[64:]), signature=bytes(whole[:64]))

    with pytest.raises(SignatureError):
        open_slot(changed, [ADA.card])


def test_an_order_for_named_vehicles_includes_them_and_tells_no_names() -> None:
    signed = seal(ORDER, ADA.sign)

    assert ORDER.includes("kona-1")
    assert ORDER.includes("kona-2")
    assert not ORDER.includes("kona-3")
    assert b"kona" not in signed.body
    assert order_of("ada", "t", replace(SPEC, vehicles="all"), 1).includes("anyone")


def test_an_order_has_one_id_and_others_have_others() -> None:
    assert assignment_id_of("ada", "t") == assignment_id_of("ada", "t")
    assert len({assignment_id_of(a, t) for a in ("ada", "eve") for t in ("t", "u")}) == 4


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(value=_json, partial=_json, weight=st.integers(0, 5) | st.floats(0, 1e9))
def test_a_result_verifies_after_any_number_of_hops(
    value: object, partial: object, weight: float
) -> None:
    signed = sign_item(result(value=value, partial=partial, weight=weight), KONA.sign)
    for _ in range(3):
        deliver = FROM_VEHICLE.decode(FROM_VEHICLE.encode(Deliver(seq=1, item=signed)))
        assert isinstance(deliver, Deliver)
        assert isinstance(deliver.item, Result)
        signed = replace(deliver.item, late=not deliver.item.late)

    assert verify_item(signed, [KONA.card]) == KONA.card


@pytest.mark.parametrize(
    "changes",
    [
        {"value": {"Vehicle.Speed": 62.5}},
        {"weight": 2.0},
        {"vehicle_id": "kona-2"},
        {"assignment_id": "job-2"},
        {"iteration": 2},
        {"status": "error"},
        {"code_version": "ff"},
        {"partial": 1},
    ],
)
def test_a_result_that_was_changed_does_not_verify(changes: dict[str, object]) -> None:
    signed = sign_item(result(), KONA.sign)

    with pytest.raises(SignatureError, match="not of kona-1"):
        verify_item(replace(signed, **changes), [KONA.card])
    with pytest.raises(SignatureError, match="not signed"):
        verify_item(replace(signed, signature=b""), [KONA.card])


END = TaskEnded(
    assignment_id="job-1", vehicle_id="kona-1", epoch="e", state=TaskState.FAILED, iterations=3
)
LOSSES = Losses(assignment_id="job-1", vehicle_id="kona-1", epoch="e", iterations=((1, 3),))


@pytest.mark.parametrize(
    ("item", "changes"),
    [
        (END, {"state": TaskState.FINISHED}),
        (END, {"iterations": 2}),
        (END, {"detail": "it was the vehicle"}),
        (LOSSES, {"iterations": ((1, 4),)}),
        (LOSSES, {"vehicle_id": "kona-2"}),
    ],
)
def test_ends_and_losses_are_signed_as_results_are(
    item: TaskEnded | Losses, changes: dict[str, object]
) -> None:
    signed = sign_item(item, KONA.sign)
    deliver = FROM_VEHICLE.decode(FROM_VEHICLE.encode(Deliver(seq=1, item=signed)))
    assert isinstance(deliver, Deliver)

    assert verify_item(deliver.item, [KONA.card]) == KONA.card
    with pytest.raises(SignatureError, match="not of kona-1"):
        verify_item(replace(signed, **changes), [KONA.card])
    with pytest.raises(SignatureError, match="not signed"):
        verify_item(item, [KONA.card])


def test_the_signature_of_an_end_is_not_good_for_losses() -> None:
    signature = sign_item(END, KONA.sign).signature

    with pytest.raises(SignatureError):
        verify_item(replace(LOSSES, signature=signature), [KONA.card])


def test_a_cancellation_opens_with_its_analysts_card_only() -> None:
    order = CancelOrder(analyst="ada", assignment_id="job-1", created_ns=1)

    assert open_cancel(seal(order, ADA.sign), [ADA.card]) == order
    with pytest.raises(SignatureError, match="an order of ada, signed by eve"):
        open_cancel(seal(order, EVE.sign), [EVE.card])
    with pytest.raises(SignatureError, match="signature of the cancel"):
        open_cancel(seal(ORDER, ADA.sign), [ADA.card])


def test_a_card_with_a_key_that_is_none_verifies_nothing() -> None:
    bad = Card(name="ada", role="analyst", curve="0" * 64, sign="f" * 64)

    with pytest.raises(SignatureError):
        open_slot(seal(SLOT, ADA.sign), [bad])
