"""The gate: an image in which something is that must not be is refused.

:func:`judge` looks through a root file system, :func:`judge_listeners` at the sockets of a booted one; the allow-lists
come from ``defaults.yaml`` and from the recipe (:class:`Allow`). docs/reference/image-gate.md lists the rules.
"""

from hatfleet.image.gate.listen import device_listeners, judge_listeners
from hatfleet.image.gate.model import RULES, Finding, RejectedError, Report, Rule, Waived, report_json
from hatfleet.image.gate.policy import Allow, Policy, RecipeFacts, policy_of, recipe_facts
from hatfleet.image.gate.reject import REJECTED, reject
from hatfleet.image.gate.scan import judge

__all__ = [
    "REJECTED",
    "RULES",
    "Allow",
    "Finding",
    "Policy",
    "RecipeFacts",
    "RejectedError",
    "Report",
    "Rule",
    "Waived",
    "device_listeners",
    "judge",
    "judge_listeners",
    "policy_of",
    "recipe_facts",
    "reject",
    "report_json",
]
