"""Killed: each daemon is back by itself, and each message that was answered 250 is in a mailbox."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import COOP_HOSTS, Clients, Member, lab, token, until
from testinfra.host import Host

BACK = 10  # seconds
MESSAGES = 2000
KILLS = (500, 1000)  # after so many answers
# What was under way comes again (RFC 5321, 4.5.5): at each kill, of load.py's eight senders and of Postfix' eight deliveries
DUPLICATES = MESSAGES // 100
# Debian's own, and the way in
SYSTEM = re.compile(r"(dbus|ssh|unattended-upgrades|systemd-.*|user@.*)\.service")
# The daemons themselves, master processes and workers
VICTIMS = """pkill -9 -x -f '/usr/lib/postfix/sbin/master.*'
pkill -9 -x 'smtpd|cleanup|qmgr|lmtp|dovecot|auth|stats'"""


def masters(host: Host) -> list[str]:
    """The process each daemon began with; 0 where it does not run."""
    return host.run("systemctl show --value --property MainPID dovecot; cat /var/spool/postfix/pid/master.pid").stdout.split()


def all_new(now: list[str], before: list[str]) -> bool:
    return len(now) == len(before) == 2 and "0" not in now and not set(now) & set(before)


@pytest.mark.fault
def test_nothing_acknowledged_is_lost(
    clients: Clients, members: dict[str, Member], mail_host: Host, world: Host, inventory: dict[str, dict[str, str]]
) -> None:
    bram = members["bram"]
    subject = token()  # an earlier run's messages are not this one's
    mx = clients.run("dig", "+short", "mx.stranger.test", "A").text.strip()
    program = Path(__file__).with_name("load.py").read_text()
    assert clients.run("tee", "/root/load.py", stdin=program).code == 0
    world.run(
        f"nohup python3 /root/load.py {clients.server} {bram.mail} {MESSAGES} {mx} {subject} "
        ">/root/acknowledged 2>/root/load.err </dev/null & echo $! >/root/load.pid"
    )

    def acknowledged() -> set[str]:
        return set(world.run("cat /root/acknowledged").stdout.split())

    for count in KILLS:
        until(f"{count} messages are acknowledged", lambda count=count: len(acknowledged()) >= count, 120)
        killed = masters(mail_host)
        mail_host.run(VICTIMS)
        until("Postfix and Dovecot are back by themselves", lambda killed=killed: all_new(masters(mail_host), killed), BACK)
    until("the sender is done", lambda: world.run("! kill -0 $(cat /root/load.pid)").rc == 0, 240)
    assert len(acknowledged()) == MESSAGES, world.run("tail -n 3 /root/load.err").stdout

    def arrived() -> list[str]:
        listing = mail_host.run(f"doveadm -f tab fetch -u {bram.mail} hdr.subject mailbox INBOX subject {subject}")
        return re.findall(rf"{subject}-\d{{4}}", listing.stdout)

    # what found Dovecot not back yet is tried again: after minimal_backoff_time, when the queue is next looked at, 2 minutes each
    until("every acknowledged message is in the mailbox", lambda: acknowledged() <= set(arrived()), 360)
    assert len(arrived()) - MESSAGES < DUPLICATES, "one in a hundred came twice"


def running(host: Host) -> dict[str, str]:
    """The first process of each of our services that is up."""
    listing = host.check_output("systemctl list-units --type=service --state=active --plain --no-legend").splitlines()
    units = [unit for unit in (line.split()[0] for line in listing) if not SYSTEM.fullmatch(unit)]
    shown = host.check_output(f"systemctl show --property Id,MainPID {' '.join(map(re.escape, units))}")
    found = (dict(line.split("=", 1) for line in block.splitlines()) for block in shown.split("\n\n"))
    return {unit["Id"]: unit["MainPID"] for unit in found if unit.get("MainPID", "0") != "0"}


@pytest.mark.fault
@pytest.mark.parametrize("name", COOP_HOSTS)
def test_whatever_is_killed_is_back(coop: dict[str, Host], name: str) -> None:
    host = coop[name]
    before = running(host)
    assert {"unbound.service", "nginx.service", "fail2ban.service"} < set(before)
    # nor does systemd give up: what ends it may last
    limits = host.check_output(f"systemctl show --value --property StartLimitIntervalUSec {' '.join(map(re.escape, before))}")
    assert limits.split() == ["0"] * len(before), (limits, list(before))
    for unit in before:
        # one that ended for want of another has another process by now
        process = until(f"{unit} runs", lambda unit=unit: running(host).get(unit), BACK)
        host.check_output(f"kill -9 {process}")
        until(f"{unit} is back", lambda unit=unit, process=process: running(host).get(unit, process) != process, BACK)
    until("all are back", lambda: set(running(host)) == set(before), BACK)
    until("nothing is down", lambda: "DOWN" not in page() and "failed units" not in page())


def page() -> str:
    done = lab("status")
    assert done.returncode == 0 and "Demo member" in done.stdout, done.stderr
    return done.stdout


@pytest.mark.fault
def test_the_page_of_facts_says_what_is_down(mail_host: Host) -> None:
    def mail() -> str:
        (row,) = re.findall(r"^mail +lesse .*$", page(), re.MULTILINE)
        return str(row)

    mail_host.check_output("systemctl stop dovecot")
    try:
        assert re.search("DOWN: .*993/tcp", mail()) and "25/tcp" not in mail().split("DOWN")[1]
    finally:
        mail_host.check_output("systemctl start dovecot")
    until("mail is up", lambda: mail().endswith(" up"))
