"""What the vehicle's owner allows: the rules as written, who has which right, what may leave."""

from agent.policy.admission import (
    Held,
    admit,
    cap,
    check_code,
    rights_of,
    trigger_names,
)
from agent.policy.allowance import Allowance
from agent.policy.budgets import Account
from agent.policy.changes import changes
from agent.policy.checking import check_rules, digest, idle_patterns
from agent.policy.rights import Analyst, Right
from agent.policy.rules import AnalystRule, Budget, Policy, Refusal, SignalRule, kept_by, words_kept
from agent.policy.samples import held_back

__all__ = [
    "Account",
    "Allowance",
    "Analyst",
    "AnalystRule",
    "Budget",
    "Held",
    "Policy",
    "Refusal",
    "Right",
    "SignalRule",
    "admit",
    "cap",
    "changes",
    "check_code",
    "check_rules",
    "digest",
    "held_back",
    "idle_patterns",
    "kept_by",
    "rights_of",
    "trigger_names",
    "words_kept",
]
