"""Mitogen's strategy, free to run on any processor: of two, its own keeps all that Ansible does on one (docs/lab.md)."""

import re

from ansible_mitogen import affinity
from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule
from mitogen.master import ModuleResponder

__all__ = ["StrategyModule"]
affinity.policy = affinity.Policy()
# Nor does it take the comments out of what it sends, which is of use on slow lines and costs 0.4 s of each run
ModuleResponder.minify_safe_re = re.compile(rb"(?!)")
