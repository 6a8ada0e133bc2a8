"""Full disks: what cannot be kept is not acknowledged, and what was acknowledged arrives once there is room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import DATA, MAIL, Clients, Member, token, until
from testinfra.host import Host

DAEMONS = "postfix dovecot"  # they see other disks from their next start on


@contextmanager
def on_a_disk_of_its_own(host: Host, directory: str, size: str) -> Iterator[None]:
    """The directory, with what is in it, while nobody writes there; what came since is kept."""
    host.check_output(f"systemctl stop {DAEMONS} && cp -a {directory} {directory}.kept")
    host.check_output(f"mount -t tmpfs -o size={size} tmpfs {directory} && cp -aT {directory}.kept {directory}")
    host.check_output(f"systemctl start {DAEMONS}")
    try:
        yield
    finally:
        host.check_output(f"systemctl stop {DAEMONS} && rm -rf {directory}.kept && cp -a {directory} {directory}.kept")
        host.check_output(f"umount --lazy {directory} && rm -rf {directory} && mv {directory}.kept {directory}")
        host.check_output(f"systemctl start {DAEMONS}")


def queued(host: Host, subject_to: str) -> str:
    """What the queue says of messages to that address, with why they are still there."""
    return host.run(f"postqueue -j | grep -F '{subject_to}'").stdout


@pytest.mark.fault
def test_a_full_mail_store_keeps_what_was_acknowledged_in_the_queue(
    clients: Clients, members: dict[str, Member], mail_host: Host
) -> None:
    bram = members["bram"]
    before, during = token(), token()
    assert clients.stranger_sends(bram.mail, before).code == 0
    clients.receive(bram, before)
    home = mail_host.check_output(f"doveadm user -f home {bram.mail}")
    with on_a_disk_of_its_own(mail_host, home, "16M"):
        until("the mailbox", lambda: clients.find(bram, before))
        assert "No space left" in mail_host.run(f"cat /dev/zero >{home}/full").stderr
        assert clients.stranger_sends(bram.mail, during).code == 0
        waiting = until("the message waits", lambda: "delay_reason" in (said := queued(mail_host, bram.mail)) and said)
        assert "deferred" in waiting, waiting
        assert clients.find(bram, before), "what is there is read"
        assert not clients.find(bram, during)
        # another member's mailbox is elsewhere
        elsewhere = token()
        assert clients.submit(members["anna"], members["anna"].mail, elsewhere).code == 0
        clients.receive(members["anna"], elsewhere)
        mail_host.check_output(f"rm {home}/full && postqueue -f")
        clients.receive(bram, during)
    until("the mailbox", lambda: clients.find(bram, before))
    assert len(clients.find(bram, during)) == 1


@pytest.mark.fault
def test_a_full_queue_takes_nothing_that_it_could_not_keep(
    clients: Clients, members: dict[str, Member], mail_host: Host, domain: str
) -> None:
    anna, bram = members["anna"], members["bram"]
    refused, later = token(), token()
    with on_a_disk_of_its_own(mail_host, "/var/spool/postfix", "16M"):
        until("the port", lambda: clients.knock(clients.server, 465))
        said = clients.submit(anna, bram.mail, refused)
        assert said.code in (MAIL, DATA) and "452 4.3.1" in said.text, said.text
        # the stranger's host keeps it, and comes again
        assert clients.stranger_sends(bram.mail, later).code == 0
        until("the stranger waits", lambda: "452 4.3.1" in clients.run("postqueue", "-j").text)
        assert not queued(mail_host, bram.mail)
        assert clients.curl(bram, "").code == 0, "mail that is there is read"
    until("the port", lambda: clients.knock(clients.server, 465))
    clients.run("postqueue", "-f")
    clients.receive(bram, later)
    assert not clients.find(bram, refused)
