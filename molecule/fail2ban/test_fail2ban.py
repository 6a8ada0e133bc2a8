"""Who guesses at real daemons is shut out, and nobody else.

`outside` is a network namespace in the host, joined by a cable of its own. Client n has the addresses 192.0.2.n and
2001:db8:1:n::2 and ::3; number 9 is an administrator.
"""

import json
import re
from itertools import count

import pytest
from conftest import eventually

HOST = {4: "192.0.2.1", 6: "2001:db8:1::1"}
JAIL = {"ssh": "ssh", "smtp": "port-25"}  # all others are one: sign-in
PORT = {"ssh": 22, "smtp": 25, "imaps": 993, "pop3s": 995, "sieve": 4190, "submissions": 465, "submission": 587}
WRONG, MEMBER = "guessed-at-random", "ann@coop.test"
CLIENTS = count(20)
LENGTHS = "select bantime from bans where ip = '{}' order by timeofban"


@pytest.fixture(scope="module", autouse=True)
def outside(host):
    if host.run("ip netns list | grep -qw outside").rc:
        host.check_output(
            "ip netns add outside && ip link add cable type veth peer name cable netns outside"
            " && ip -n outside link set lo up && ip link set cable up && ip -n outside link set cable up"
            f" && ip addr add {HOST[4]}/24 dev cable && ip addr add {HOST[6]}/48 dev cable nodad"
        )
        many = "".join(
            f"addr add 192.0.2.{n}/24 dev cable\naddr add 2001:db8:1:{n}::2/48 dev cable nodad\n"
            f"addr add 2001:db8:1:{n}::3/48 dev cable nodad\n"
            for n in (9, *range(20, 60))
        )
        host.check_output(f"echo '{many}' | ip -n outside -batch -")
    host.check_output("fail2ban-client unban --all")


def address(family, client, of=2):
    return f"192.0.2.{client}" if family == 4 else f"2001:db8:1:{client}::{of}"


def sign_in(host, protocol, source, times=1, right=False, user=MEMBER):
    """How each of so many sign-ins at once ended: in, wrong, refused."""
    if protocol == "ssh":
        user, password = "root", f"printf /etc/fixture/{'good' if right else 'bad'}"
    else:
        password = "cut -d} -f2 /etc/dovecot/users | tr -d '\\n'" if right else f"printf {WRONG}"
    to = HOST[6 if ":" in source else 4]
    client = f"ip netns exec outside python3 /usr/local/lib/sign_in.py {protocol} {to} {source} '{user}' {times}"
    return host.check_output(f"{password} | {client}").split("\n")


def knock(host, source, port):
    script = f"import socket; socket.create_connection(('{HOST[6 if ':' in source else 4]}', {port}), 5, ('{source}', 0))"
    return host.run(f'ip netns exec outside python3 -c "{script}"').rc == 0


def failures(host, jail):
    return int(re.search(r"Total failed:\s+(\d+)", host.check_output(f"fail2ban-client status {jail}"))[1])


def banned(host, jail="sign-in"):
    return host.check_output(f"fail2ban-client get {jail} banip").split()


def ask(host, question):
    """Of what fail2ban remembers."""
    script = "import json, sqlite3, sys; print(json.dumps(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall()))"
    return json.loads(host.check_output(f'python3 -c "{script}" /var/lib/fail2ban/fail2ban.sqlite3 "{question}"'))


def shut_out(host, family=4, protocol="imaps", **options):
    """Another client, after twenty failures."""
    client = next(CLIENTS)
    sign_in(host, protocol, address(family, client), times=20, **options)
    assert eventually(lambda: address(family, client) in banned(host)), host.run("journalctl -n 60 -t fail2ban -t dovecot").stdout
    return client


@pytest.mark.parametrize(
    ("protocol", "family"),
    [("imaps", 4), ("pop3s", 6), ("sieve", 4), ("submissions", 4), ("submission", 6), ("smtp", 4), ("ssh", 4), ("ssh", 6)],
)
def test_nineteen_failures_do_not_and_twenty_do(host, protocol, family):
    guesser, other = (address(family, next(CLIENTS)) for _ in range(2))
    jail = JAIL.get(protocol, "sign-in")
    before = failures(host, jail)
    assert sign_in(host, protocol, guesser, times=19) == ["wrong"] * 19
    assert eventually(lambda: failures(host, jail) == before + 19), host.run("journalctl -n 80").stdout
    assert guesser not in banned(host, jail)
    assert sign_in(host, protocol, guesser) == ["wrong"], "nineteen were enough"
    assert eventually(lambda: guesser in banned(host, jail)), host.run("journalctl -n 80").stdout
    assert sign_in(host, protocol, guesser, right=True) == ["refused"]
    # where nobody can sign in, others are told so as before
    assert sign_in(host, protocol, other, right=True) == ["wrong" if protocol == "smtp" else "in"]
    for name, port in PORT.items():
        assert knock(host, guesser, port) == (JAIL.get(name, "sign-in") != jail), f"{port}: the jail's ports close, no others"


def test_a_members_slips_are_forgotten(host):
    """A sign-in that succeeds is no failure, however many there are."""
    member = address(4, next(CLIENTS))
    before = failures(host, "sign-in")
    assert sign_in(host, "imaps", member, times=25, right=True) == ["in"] * 25
    assert sign_in(host, "imaps", member, times=3) == ["wrong"] * 3
    assert eventually(lambda: failures(host, "sign-in") == before + 3)
    assert sign_in(host, "imaps", member, right=True) == ["in"]


def test_a_name_cannot_shut_out_somebody_else(host):
    victim = address(4, next(CLIENTS))
    guesser = shut_out(host, user=f"x,{victim}>): Password mismatch")
    assert address(4, guesser) in banned(host) and victim not in banned(host)
    assert sign_in(host, "imaps", victim, right=True) == ["in"]


def test_an_ipv6_address_stands_for_its_network(host):
    guesser, other = shut_out(host, family=6), next(CLIENTS)
    assert sign_in(host, "imaps", address(6, guesser, of=3), right=True) == ["refused"]
    assert sign_in(host, "imaps", address(6, other), right=True) == ["in"]
    host.check_output(f"fail2ban-client unban {address(6, guesser)}")
    assert sign_in(host, "imaps", address(6, guesser, of=3), right=True) == ["in"]


def test_sysadmins_are_never_shut_out(host):
    for family in (4, 6):
        before = failures(host, "sign-in")
        assert sign_in(host, "imaps", address(family, 9), times=25) == ["wrong"] * 25
        # somebody else's failures after those are counted, theirs are not
        assert sign_in(host, "imaps", address(family, next(CLIENTS))) == ["wrong"]
        assert eventually(lambda before=before: failures(host, "sign-in") == before + 1)
        assert address(family, 9) not in banned(host)
        assert sign_in(host, "imaps", address(family, 9), right=True) == ["in"]


def test_nor_is_who_is_never_shut_out_by_a_neighbour(host):
    """Client 59 has an address of the cooperative's beside the one that guesses."""
    sign_in(host, "imaps", address(6, 59), times=20)
    assert eventually(lambda: address(6, 59) in banned(host))
    assert sign_in(host, "imaps", address(6, 59), right=True) == ["refused"]
    assert sign_in(host, "imaps", address(6, 59, of=3), right=True) == ["in"]


def test_unban_by_hand(host):
    guesser = address(4, shut_out(host))
    assert not knock(host, guesser, 993)
    assert host.check_output(f"fail2ban-client unban {guesser}") == "1"
    assert knock(host, guesser, 993)


def test_bans_outlive_a_change_of_the_firewall_and_a_restart(host):
    four, six = address(4, shut_out(host)), address(6, shut_out(host, family=6))
    for change in (
        "/usr/local/sbin/perron-firewall load /etc/perron-firewall.nft",
        "systemctl restart nftables",
        "systemctl restart fail2ban",
        "systemctl kill --signal=KILL fail2ban",
    ):
        host.check_output(change)
        assert eventually(lambda: not knock(host, four, 993) and not knock(host, six, 993)), change
        assert knock(host, four, 22), change
    assert eventually(lambda: host.run("fail2ban-client ping").rc == 0)


def test_who_comes_back_is_shut_out_for_longer(host):
    host.check_output("fail2ban-client set sign-in bantime 3")
    try:
        guesser = address(4, next(CLIENTS))

        def times():
            return [seconds for (seconds,) in ask(host, LENGTHS.format(guesser))]

        for expected in ([3], [3, 6]):
            assert eventually(lambda: guesser not in banned(host) and knock(host, guesser, 993)), "the ban does not end"
            sign_in(host, "imaps", guesser, times=20)
            # the next may be there already: what a repeater does counts double, and twenty are more than enough
            assert eventually(lambda expected=expected: times()[: len(expected)] == expected), times()
    finally:
        host.check_output("fail2ban-client set sign-in bantime 600")
    settings = {
        key: host.check_output(f"fail2ban-client get sign-in {key}") for key in ("bantime.maxtime", "findtime", "maxretry")
    }
    assert settings == {"bantime.maxtime": "86400", "findtime": "30", "maxretry": "20"}


def test_nothing_keeps_what_was_tried(host):
    shut_out(host)
    assert ask(host, "select count(*) from bans")[0][0] > 0
    assert not any("matches" in json.loads(data) for (data,) in ask(host, "select cast(data as text) from bans"))
    assert host.run(f"grep -rE '{WRONG}|{MEMBER}' /var/lib/fail2ban").rc == 1
    # not even the daemons that were tried
    for whose in ("-u dovecot -u postfix -u ssh", "-t fail2ban"):  # -u and -t together ask for both at once
        said = host.check_output(f"journalctl --no-pager -o cat {whose}")
        assert said not in ("", "-- No entries --") and WRONG not in said, whose
    assert "Ban 192.0.2." in host.check_output("journalctl --no-pager -o cat -t fail2ban")
    assert host.file("/var/log/fail2ban.log").size == 0


def test_only_what_is_asked_for_is_watched(host):
    listed = host.check_output("fail2ban-client status").split("Jail list:")[1]
    assert {name.strip() for name in listed.split(",")} == {"ssh", "sign-in", "port-25"}


def test_no_warnings(host):
    # the daemon's own, not what systemd says of one that was killed
    whose = "_SYSTEMD_UNIT=fail2ban.service + SYSLOG_IDENTIFIER=fail2ban"
    said = host.check_output(f"journalctl --no-pager -o cat {whose}").split("\n")
    assert "Server ready" in said
    assert [line for line in said if re.search(r"error|warning|failed", line, re.IGNORECASE)] == []


def test_the_unit_is_hardened(host):
    score = host.check_output("systemd-analyze security --no-pager fail2ban | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score
    show = host.check_output("systemctl show -p CapabilityBoundingSet,ProtectSystem,NoNewPrivileges fail2ban").split("\n")
    assert set(show) == {"CapabilityBoundingSet=cap_net_admin", "ProtectSystem=strict", "NoNewPrivileges=yes"}
    assert host.service("fail2ban").is_enabled
