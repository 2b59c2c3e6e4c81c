"""Every message of the platform: one closed union a direction, frozen, tagged by ``type``.

::

    vehicle  → cloud     FromVehicle   Hello, Heartbeat, Catalog, Deliver, CodeReport, Fetch, Chunk
    cloud    → vehicle   ToVehicle     Welcome, SendHello, SendCatalog, Assign, Withdraw, SetCode,
                                       Feedback, Ack, SendChunk, NoContent, Chunk
    analyst  → cloud     Request       a body of the union `Ask`, numbered; safe to repeat
    cloud    → analyst   Reply         the answer to one request: a body of the union `Answer`

Vehicle and cloud keep each other right by comparing what is with what should be: every `Heartbeat`
lists the tasks and code generations that the vehicle holds, and the cloud sends again what is
missing. So every message to a vehicle may be repeated, and the loss of one heals itself.

What a vehicle must not lose (results, losses, the end of a task) goes through its outbox as
`Deliver` and is repeated until an `Ack` names it. Analysts only ask: a job's stream of events is
numbered in the ledger and read from any position with `ReadEvents`, which waits at the cloud for
news.

What is too large for a message is content (`contract.content`): the message names it, and whoever
receives the message asks for its chunks: a vehicle with `Fetch`, the cloud with `SendChunk`, an
analyst with `ReadChunk`; what an analyst gives, the cloud asks for in its answer to `PutChunk`.
"""

from user_lib.contract.messages.analyst import (
    Ask,
    Cancel,
    CodeStatus,
    Explain,
    ListJobs,
    ListSignals,
    ListVehicles,
    Ping,
    Prove,
    PushCode,
    PutChunk,
    ReadChunk,
    ReadEvents,
    RemoveCode,
    Request,
    RollbackCode,
    Submit,
)
from user_lib.contract.messages.answers import (
    Answer,
    Cancelled,
    CodeSlot,
    CodeSlots,
    CodeState,
    ContentHeld,
    Events,
    Explanation,
    Jobs,
    Pong,
    Proof,
    Rejection,
    Reply,
    Signals,
    Submitted,
    VehicleInfo,
    Vehicles,
)
from user_lib.contract.messages.jobs import (
    Event,
    Group,
    JobChanged,
    JobInfo,
    MemberInfo,
    RoundClosed,
)
from user_lib.contract.messages.records import (
    MAX_RUNS,
    Chunk,
    Losses,
    ModuleHeld,
    Result,
    RollBack,
    SignalInfo,
    TaskEnded,
    TaskHeld,
)
from user_lib.contract.messages.vehicle import (
    Ack,
    Assign,
    Catalog,
    CodeReport,
    Deliver,
    Feedback,
    Fetch,
    FromVehicle,
    Heartbeat,
    Hello,
    NoContent,
    SendCatalog,
    SendChunk,
    SendHello,
    SetCode,
    ToVehicle,
    Welcome,
    Withdraw,
)

__all__ = [
    "MAX_RUNS",
    "Ack",
    "Answer",
    "Ask",
    "Assign",
    "Cancel",
    "Cancelled",
    "Catalog",
    "Chunk",
    "CodeReport",
    "CodeSlot",
    "CodeSlots",
    "CodeState",
    "CodeStatus",
    "ContentHeld",
    "Deliver",
    "Event",
    "Events",
    "Explain",
    "Explanation",
    "Feedback",
    "Fetch",
    "FromVehicle",
    "Group",
    "Heartbeat",
    "Hello",
    "JobChanged",
    "JobInfo",
    "Jobs",
    "ListJobs",
    "ListSignals",
    "ListVehicles",
    "Losses",
    "MemberInfo",
    "ModuleHeld",
    "NoContent",
    "Ping",
    "Pong",
    "Proof",
    "Prove",
    "PushCode",
    "PutChunk",
    "ReadChunk",
    "ReadEvents",
    "Rejection",
    "RemoveCode",
    "Reply",
    "Request",
    "Result",
    "RollBack",
    "RollbackCode",
    "RoundClosed",
    "SendCatalog",
    "SendChunk",
    "SendHello",
    "SetCode",
    "SignalInfo",
    "Signals",
    "Submit",
    "Submitted",
    "TaskEnded",
    "TaskHeld",
    "ToVehicle",
    "VehicleInfo",
    "Vehicles",
    "Welcome",
    "Withdraw",
]
