"""The owner's rules: what they allow, in a few words, and what of them does nothing here."""

from agent.check.finding import Finding
from agent.config import AgentConfig
from agent.gathering import aliases_of
from agent.policy import Budget, Policy, digest, idle_patterns
from agent.signals.names import SignalNames

__all__ = ["policy"]

SHOWN = 3


def policy(config: AgentConfig, names: SignalNames | None) -> Finding:
    """Say what the owner allows, and warn of patterns that match no signal, where all are known."""
    rules = config.policy
    found = f"{_words(rules)}; {config.policy_file or 'in agent.yaml'}, {digest(rules)[:12]}"
    idle: tuple[str, ...] = ()
    if names is not None:
        known = [info.name for info in names.describe()]
        idle = idle_patterns(rules, known, aliases_of(names))
    if not idle:
        return Finding("policy", "ok", found)
    more = f"; and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
    return Finding(
        "policy", "warn", f"{found}; {'; '.join(idle[:SHOWN])}{more}", "correct or remove"
    )


def _words(rules: Policy) -> str:
    parts = [
        "custom code accepted" if rules.accepts_custom else "custom code refused",
        f"methods {', '.join(rules.methods)}" if rules.methods is not None else "all methods",
    ]
    if rules.forbidden_signals:
        parts.append(f"forbidden: {', '.join(rules.forbidden_signals)}")
    parts += [f"rule {r.rule}: {', '.join(r.match)} {_may(r.may)}" for r in rules.signals]
    parts.append(f"other signals {_may(rules.otherwise)}")
    if rules.analysts is not None:
        parts.append(f"orders of {', '.join(w for r in rules.analysts for w in r.who) or 'nobody'}")
    if rules.budget != Budget():
        parts.append("budget " + _budget(rules.budget))
    parts.append(f"at most {rules.limits.memory_mb} MB and {rules.limits.cpu_s:g} s an iteration")
    return "; ".join(parts)


def _may(word: str) -> str:
    return {"nothing": "may not be read", "aggregates": "in aggregates only"}.get(word, "may leave")


def _budget(budget: Budget) -> str:
    given = (
        (budget.results_per_minute, "results a minute"),
        (budget.results_per_day, "results a day"),
        (budget.mb_per_day, "MB a day"),
    )
    return ", ".join(f"{number:g} {words}" for number, words in given if number is not None)
