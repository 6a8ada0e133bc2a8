"""Mitogen's strategy, free to run on any processor: of two, its own keeps all that Ansible does on one (docs/lab.md)."""

from ansible_mitogen import affinity
from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule

__all__ = ["StrategyModule"]
affinity.policy = affinity.Policy()
