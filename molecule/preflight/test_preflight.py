"""The inventory to copy is refused, as it is, before a host is spoken to."""

import os


def test_the_example_is_refused_with_every_mend_at_once(host):
    root = os.environ["MOLECULE_PROJECT_DIRECTORY"]
    run = host.run(f"cd {root} && ANSIBLE_CONFIG={root}/ansible.cfg ansible-playbook playbooks/site.yml")
    assert run.rc != 0
    said = run.stdout + run.stderr
    assert "nothing was changed" in said
    assert "192.0.2.21 is an address of documentation" in said
    assert "coop_domain: 'coop.example': it is a name of documentation" in said
    assert "unreachable=1" not in said
