"""What the firewall lets through and what not, tried from a network beside the host's.

`outside` is a network namespace in the host, joined by a cable of its own: .2 is the administrator, .77 anyone.
"""

import json
import subprocess
import time

import pytest
from conftest import eventually

ADMIN = {4: "192.0.2.2", 6: "2001:db8:1::2"}
ANYONE = {4: "192.0.2.77", 6: "2001:db8:1::77"}
HOST = {4: "192.0.2.1", 6: "2001:db8:1::1"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])
SERVE = "systemctl is-active -q {unit} || systemd-run -q --collect --unit={unit} {where} python3 -m http.server --bind :: {port}"
CONNECT = 'python3 -c \'import socket; socket.create_connection(("{to}", {port}), 2, ("{source}", 0))\''
FIREWALL = "/usr/local/sbin/perron-firewall"
RULESET = "/etc/perron-firewall.nft"


def comes_in(host, family, port, source):
    connect = CONNECT.format(to=HOST[family], port=port, source=source[family])
    return host.run(f"ip netns exec outside {connect}").rc == 0


def goes_out(host, family, port, user, to=ADMIN):
    connect = CONNECT.format(to=to[family], port=port, source="")
    return host.run(f"setpriv --reuid {user} --regid nogroup --clear-groups {connect}").rc == 0


def refused(host, direction):
    return int(host.check_output(f"nft list counter inet perron refused_{direction}").split("packets ")[1].split()[0])


@pytest.fixture(scope="module", autouse=True)
def outside(host):
    if host.run("ip netns list | grep -qw outside").rc:
        host.check_output(
            "ip netns add outside && ip link add cable type veth peer name cable netns outside"
            " && ip -n outside link set lo up && ip link set cable up && ip -n outside link set cable up"
        )
        for prefix, on_host, there in (("24", HOST[4], (ADMIN[4], ANYONE[4])), ("64 nodad", HOST[6], (ADMIN[6], ANYONE[6]))):
            host.check_output(f"ip addr add {on_host}/{prefix} dev cable")
            for address in there:
                host.check_output(f"ip -n outside addr add {address}/{prefix} dev cable")
    for port in (25, 26, 7005):
        host.check_output(SERVE.format(unit=f"there-{port}", where="-p NetworkNamespacePath=/run/netns/outside", port=port))
    for port in (8025, 8026, 8080):
        host.check_output(SERVE.format(unit=f"here-{port}", where="", port=port))
    listening = "ss -Hltn '( sport = 25 or sport = 26 or sport = 7005 or sport = 8025 or sport = 8026 or sport = 8080 )' | wc -l"
    assert eventually(
        lambda: host.check_output(listening) == "3" and host.check_output(f"ip netns exec outside {listening}") == "3"
    )


@FAMILIES
def test_a_listed_port_answers_and_an_unlisted_one_does_not(host, family):
    before = refused(host, "in")
    assert comes_in(host, family, 8025, ANYONE)
    assert not comes_in(host, family, 8080, ANYONE)
    assert refused(host, "in") > before
    # it does listen: loopback is free
    assert host.run(CONNECT.format(to="127.0.0.1", port=8080, source="127.0.0.1")).rc == 0


def test_a_port_of_loopback_that_a_rule_names_is_for_whom_it_names(host):
    here = {"loopback": "127.0.0.1", "own": HOST[4]}
    assert goes_out(host, "loopback", 8026, "mail", here)
    for place in here:
        for user in ("nobody", "root"):
            assert not goes_out(host, place, 8026, user, here)
            assert goes_out(host, place, 8080, user, here)
    assert not goes_out(host, 6, 8026, "nobody", {6: "::1"})


@FAMILIES
def test_ssh_answers_administrators_only(host, family):
    assert comes_in(host, family, 22, ADMIN)
    assert not comes_in(host, family, 22, ANYONE)


@FAMILIES
def test_a_listed_user_connects_out_and_others_do_not(host, family):
    assert goes_out(host, family, 25, "mail")
    assert not goes_out(host, family, 26, "mail")
    before = refused(host, "out")
    for user in ("nobody", "root"):
        began = time.monotonic()
        assert not goes_out(host, family, 25, user)
        assert time.monotonic() - began < 2, "refused in silence"
    assert refused(host, "out") >= before + 2


@FAMILIES
def test_only_the_listed_destinations(host, family):
    assert goes_out(host, family, 7005, "mail")
    assert not goes_out(host, family, 7005, "mail", to=ANYONE)


def test_rules_wait_for_a_user_and_leave_with_it(host):
    host.run("userdel comes-later")
    host.check_output("useradd --system comes-later")
    try:
        assert eventually(lambda: goes_out(host, 4, 25, "comes-later"))
        assert not goes_out(host, 4, 26, "comes-later")
        assert goes_out(host, 4, 25, "mail")
        number = host.check_output("id -u comes-later")
    finally:
        host.check_output("userdel comes-later")
    assert eventually(lambda: not goes_out(host, 4, 25, number)), "the number's next owner would have its rights"
    assert goes_out(host, 4, 25, "mail")
    assert host.run(f"{FIREWALL} status {RULESET}").rc == 0


def test_ping_is_answered_but_a_flood_is_not(host):
    for family in (4, 6):
        assert host.run(f"ip netns exec outside ping -c 1 -W 2 {HOST[family]}").rc == 0
        flood = host.run(f"ip netns exec outside ping -q -i 0.002 -c 400 -W 1 {HOST[family]}").stdout
        assert 0 < int(flood.split(" received")[0].split()[-1]) < 300, flood


def test_neighbours_are_found_again(host):
    host.check_output("ip -6 neigh flush dev cable; ip -n outside -6 neigh flush dev cable")
    assert comes_in(host, 6, 8025, ANYONE)


def test_a_wrong_ruleset_goes_back_by_itself_and_cannot_be_confirmed_then(host):
    shut = "table inet perron { chain input { type filter hook input priority filter; policy drop; }; }"
    host.check_output(f"echo '{shut}' > /root/shut.nft && {FIREWALL} try /root/shut.nft 4")
    assert not comes_in(host, 4, 22, ADMIN)
    assert host.run(f"{FIREWALL} status {RULESET}").rc != 0
    assert eventually(lambda: comes_in(host, 4, 22, ADMIN)), host.run("journalctl -n 30 -u 'perron-firewall*'").stdout
    assert goes_out(host, 4, 25, "mail")
    late = host.run(f"{FIREWALL} confirm /root/shut.nft")
    assert late.rc != 0 and "too late" in late.stderr
    assert eventually(lambda: host.run(f"{FIREWALL} status {RULESET}").rc == 0)


def test_a_broken_ruleset_is_never_loaded(host):
    before = host.check_output("nft --stateless list ruleset")
    tried = host.run(
        f"echo 'table inet perron {{ chain input {{ nonsense }} }}' > /root/broken.nft; {FIREWALL} try /root/broken.nft 4"
    )
    assert tried.rc != 0
    assert host.check_output("nft --stateless list ruleset") == before
    assert host.run("systemctl is-active perron-firewall-rollback.timer").stdout.strip() == "inactive"


def test_what_boot_loads_is_what_was_confirmed_and_others_tables_stay(host):
    before = host.check_output("nft --stateless list table inet perron")
    host.check_output("nft add table inet bans; systemctl restart nftables")
    assert host.check_output("nft --stateless list table inet perron") == before
    assert host.run("nft list table inet bans; nft destroy table inet bans").rc == 0
    assert host.service("nftables").is_enabled
    assert goes_out(host, 4, 25, "mail")


def test_a_connection_older_than_the_rules_goes_on(host):
    """The run that first brings them in must not stand still: nothing tracked its connection before."""
    host.check_output(
        "mkdir -p /root/.ssh; [ -e /root/key ] || ssh-keygen -q -t ed25519 -N '' -f /root/key;"
        " cp /root/key.pub /root/.ssh/authorized_keys; rm -f /root/in /root/loaded /root/said"
    )
    try:
        host.check_output("nft destroy table inet perron")
        host.check_output(
            "systemd-run -q --collect --unit=older -p NetworkNamespacePath=/run/netns/outside -p StandardOutput=file:/root/said"
            # it ends by itself, whether the rules ever come or not
            f" timeout 60 ssh -i /root/key -o StrictHostKeyChecking=no -o BindAddress={ADMIN[4]} root@{HOST[4]}"
            " 'touch in; until [ -e loaded ]; do sleep 0.1; done; echo still here'"
        )
        assert eventually(lambda: host.file("/root/in").exists), host.run("journalctl -n 20 -u older -u ssh").stdout
        host.check_output(f"{FIREWALL} load {RULESET} && touch /root/loaded")
        assert eventually(lambda: "still here" in host.check_output("cat /root/said"))
    finally:
        host.check_output("systemctl reload nftables; systemctl stop older 2>/dev/null; rm -f /root/.ssh/authorized_keys")


def test_an_alteration_by_hand_is_seen(host):
    host.check_output("nft insert rule inet perron input tcp dport 8080 accept")
    assert comes_in(host, 4, 8080, ANYONE)
    assert host.run(f"{FIREWALL} status {RULESET}").rc != 0
    # nor does it become part of the rules when users come and go
    host.check_output(f"{FIREWALL} users")
    assert host.run(f"{FIREWALL} status {RULESET}").rc != 0
    host.check_output("systemctl reload nftables")
    assert host.run(f"{FIREWALL} status {RULESET}").rc == 0
    assert not comes_in(host, 4, 8080, ANYONE)


def test_an_administrator_who_would_be_shut_out_gets_in_again(host, address, play, monkeypatch):
    """All of it through the role: the administrator is this machine, and the wrong run takes another network for its own."""
    monkeypatch.setenv("ANSIBLE_STRATEGY", "linear")  # production's
    machine = host.check_output("ip -4 route show default").split()[2] + "/32"
    way = {
        "ansible_host": address,
        "ansible_ssh_private_key_file": "/run/perron/id_ed25519",
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
    }

    def run(network, code=0):
        rules = {"input": [{"service": "base", "proto": "tcp", "port": 22, "sources": [network]}], "output": []}
        given = {"firewall_rules": rules, "firewall_admin_networks": [network], "firewall_confirm_seconds": 4 if code else 60}
        done = play("molecule/firewall/administrator.yml", "-e", json.dumps(given), groups=["elsewhere"], variables=way)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def gets_in():
        knock = ["timeout", "2", "bash", "-c", f"</dev/tcp/{address}/22"]
        return subprocess.run(knock, check=False, capture_output=True).returncode == 0

    host.check_output(f"cp {RULESET} /root/before.nft")
    keep = f"{FIREWALL} try {{0}} 60 && {FIREWALL} confirm {{0}}"
    try:
        assert not gets_in()
        # what lets this machine in at all
        host.check_output(f"sed 's,192.0.2.2/32,{machine},' {RULESET} > /root/in.nft && {keep.format('/root/in.nft')}")
        assert "changed=0" not in run(machine)
        good = host.check_output("nft --stateless list table inet perron"), host.file("/etc/nftables.conf").content_string

        said = run("198.51.100.0/24", code=2)
        assert (
            "could not get in again within 4 s" in said and "Does firewall_admin_networks hold the address you come from?" in said
        )
        assert "198.51.100.0/24" in host.file(RULESET).content_string, "another run than the wrong one was refused"
        # the former rules, now and at boot
        assert eventually(gets_in)
        assert good == (
            host.check_output("nft --stateless list table inet perron"),
            host.file("/etc/nftables.conf").content_string,
        )
        host.check_output("nft destroy table inet perron; systemctl restart nftables")
        assert gets_in() and host.check_output("nft --stateless list table inet perron") == good[0]

        assert "changed=0" not in run(machine)
        assert "changed=0" in run(machine)
    finally:
        host.check_output(f"{keep.format('/root/before.nft')} && cp /root/before.nft {RULESET}")


def test_no_unit_failed(host):
    assert host.check_output("systemctl --failed --no-legend --plain") == ""
