"""What resolvers, secondaries and ACME clients see of the name servers. Asked with BIND's tools, not Knot's own."""

import functools
import os
import re

import pytest
import testinfra
from conftest import SSH_CONFIG, eventually

PRIMARY = os.environ["PERRON_CONTAINER"]
TRANSFER = "hmac-sha256:transfer:cGVycm9uLXRyYW5zZmVyLXBlcnJvbi10cmFuc2Zlci0="
ACME = "hmac-sha256:acme:cGVycm9uLWFjbWUtcGVycm9uLWFjbWUtcGVycm9uLWE="
STRANGE = "hmac-sha256:acme:c29tZWJvZHktZWxzZSdzLXNvbWVib2R5LWVsc2UncyE="


@pytest.fixture(scope="module")
def secondary():
    return testinfra.get_host(f"ssh://{PRIMARY}-secondary", ssh_config=str(SSH_CONFIG))


@pytest.fixture(scope="module")
def servers(host, secondary):
    return [host, secondary]


@functools.cache
def addresses(server):
    """IPv4 first"""
    return sorted(server.check_output("hostname --all-ip-addresses").split(), key=lambda address: ":" in address)


def dig(server, question, address=None):
    return server.run(f"dig +time=2 +tries=2 @{address or addresses(server)[0]} {question}").stdout


def serial(server, zone="example.test"):
    return int(dig(server, f"+short SOA {zone}").split()[2])


def update(server, commands, key=None):
    script = f"server {addresses(server)[0]}\\nzone example.test\\n{commands}\\nsend\\n"
    return server.run(f"printf '{script}' | nsupdate {'-y ' + key if key else ''}")


def journal(server):
    return server.run("journalctl --no-pager --lines 50 --unit knot").stdout


def test_runs_and_starts_at_boot(servers):
    for server in servers:
        assert server.service("knot").is_running, journal(server)
        assert server.service("knot").is_enabled


def test_answers_on_every_family_and_protocol(servers):
    for server in servers:
        for address in addresses(server):
            for protocol in ("+notcp", "+tcp"):
                assert dig(server, f"{protocol} +short A ns1.example.test", address) == "192.0.2.1\n"


def test_leaves_loopback_to_the_resolver(host):
    assert host.run("dig +time=1 +tries=1 @127.0.0.1 SOA example.test").rc != 0


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("MX example.test", "10 mail.example.test."),
        ("A mail.example.test", "192.0.2.3"),
        ("SRV _imaps._tcp.example.test", "0 1 993 mail.example.test."),
        ("CAA example.test", '0 issue "letsencrypt.org"'),
        ("CNAME any.wild.example.test", "mail.example.test."),
    ],
)
def test_records(servers, question, answer):
    for server in servers:
        assert dig(server, f"+short {question}").strip() == answer


def test_long_text_arrives_whole(servers):
    for server in servers:
        text = dig(server, "+short TXT long._domainkey.example.test").strip()
        assert text.replace('" "', "") == f'"v=DKIM1; k=rsa; p={"A" * 392}"'


def test_the_soa_names_primary_and_hostmaster(host):
    assert dig(host, "+short SOA example.test").startswith(r"ns1.example.test. jean\.perron.example.test. ")


def delv(server, question, zone):
    """Validated with the key of ZONE as the only thing trusted"""
    key = dig(server, f"+short DNSKEY {zone}").strip().split(" ", 3)
    anchor = f'trust-anchors {{ "example.test" static-key {key[0]} {key[1]} {key[2]} "{key[3].replace(" ", "")}"; }};'
    server.run(f"printf '%s' '{anchor}' > /tmp/anchor")
    answer = server.run(f"delv @{addresses(server)[0]} -a /tmp/anchor +root=example.test {question}")
    return answer.stdout + answer.stderr


def test_answers_are_signed(servers):
    for server in servers:
        assert "; fully validated" in delv(server, "MX example.test", "example.test")
        assert "; negative response, fully validated" in delv(server, "A nobody.example.test", "example.test")


def test_another_key_validates_nothing(host):
    assert "fully validated" not in delv(host, "MX example.test", "member.test")


def test_one_key_of_the_modern_kind(host):
    keys = dig(host, "+short DNSKEY example.test").splitlines()
    assert [key.split()[:3] for key in keys] == [["257", "3", "13"]]
    assert dig(host, "+short NSEC3PARAM example.test") == "1 0 0 -\n"


def test_publishes_what_the_parent_should(servers):
    """CDS over DNS is the DS record that keymgr computes"""
    wanted = servers[0].check_output("keymgr example.test ds").split()
    sha256 = wanted[wanted.index("2") - 2 :][:4]  # tag, algorithm, digest type 2, digest
    for server in servers:
        assert dig(server, "+short CDS example.test").replace(" ", "").strip().lower() == "".join(sha256).lower()
        assert dig(server, "+short CDNSKEY example.test") == dig(server, "+short DNSKEY example.test")


def test_no_recursion(servers):
    for server in servers:
        answer = dig(server, "A www.stranger.test")
        assert "status: REFUSED" in answer
        assert " ra" not in re.search(r"flags:([^;]*)", answer).group(1)


def test_says_nothing_of_itself(servers):
    for server in servers:
        for name in ("version.bind", "id.server"):
            assert dig(server, f"+short CH TXT {name}") == ""
        assert "NSID" not in dig(server, "+nsid SOA example.test")


def test_transfer_with_the_key_only(host, secondary):
    def transferred(client, server, key):
        return "mail.example.test." in dig(client, f"{key} AXFR example.test", addresses(server)[0])

    assert transferred(secondary, host, f"-y {TRANSFER}")
    for key in ("", f"-y {ACME}", f"-y {STRANGE}"):
        assert not transferred(secondary, host, key)
    # nor with the key from elsewhere, nor anything from the secondary
    assert not transferred(host, host, f"-y {TRANSFER}")
    assert not transferred(host, secondary, f"-y {TRANSFER}")


def test_the_secondary_serves_the_same(host, secondary):
    for zone in ("example.test", "member.test"):
        assert eventually(lambda zone=zone: serial(host, zone) == serial(secondary, zone)), journal(secondary)
        assert dig(host, f"+short RRSIG {zone}") == dig(secondary, f"+short RRSIG {zone}")


@pytest.mark.parametrize("name", ["_acme-challenge", "_acme-challenge.mail", "_acme-challenge.a.b"])
def test_acme_challenge(servers, name):
    """It comes to both servers, signed, stays while the zone file is the same, and goes"""
    host = servers[0]
    fqdn = f"{name}.example.test"
    assert update(host, f"add {fqdn}. 60 TXT proof", ACME).rc == 0, journal(host)
    try:
        for server in servers:
            assert eventually(lambda server=server: dig(server, f"+short TXT {fqdn}") == '"proof"\n'), journal(server)
        assert "; fully validated" in delv(host, f"TXT {fqdn}", "example.test")
        host.check_output("knotc reload")
        assert dig(host, f"+short TXT {fqdn}") == '"proof"\n'
    finally:
        assert update(host, f"delete {fqdn}. TXT", ACME).rc == 0
    for server in servers:
        assert eventually(lambda server=server: dig(server, f"+short TXT {fqdn}") == ""), journal(server)


@pytest.mark.parametrize(
    ("key", "record"),
    [
        (None, "_acme-challenge.mail.example.test. 60 TXT proof"),
        (STRANGE, "_acme-challenge.mail.example.test. 60 TXT proof"),
        (TRANSFER, "_acme-challenge.mail.example.test. 60 TXT proof"),
        (ACME, "example.test. 60 TXT proof"),
        (ACME, "mail.example.test. 60 TXT proof"),
        (ACME, "mail._acme-challenge.example.test. 60 TXT proof"),
        (ACME, "_acme-challenge.mail.example.test. 60 A 192.0.2.9"),
        (ACME, "_acme-challenge.mail.example.test. 60 NS ns1.example.test."),
    ],
)
def test_no_other_update(host, key, record):
    before = serial(host)
    assert update(host, f"add {record}", key).rc != 0
    assert update(host, "delete mail.example.test. A", key).rc != 0
    assert serial(host) == before


def test_a_changed_zone_is_signed_and_transferred(servers):
    host = servers[0]
    update(host, "add _acme-challenge.example.test. 60 TXT leftover", ACME)
    before = serial(host)
    zone = "/etc/knot/example.test.zone"
    host.check_output(f"cp --preserve {zone} /tmp/before; echo 'new 60 A 192.0.2.77' >> {zone}; knotc reload")
    try:
        for server in servers:
            assert eventually(lambda server=server: dig(server, "+short A new.example.test") == "192.0.2.77\n"), journal(server)
        assert serial(host) > before
        assert "; fully validated" in delv(host, "A new.example.test", "example.test")
        # the file says what the zone holds: a challenge goes when the file changes or the server restarts
        assert dig(host, "+short TXT _acme-challenge.example.test") == ""
    finally:
        host.check_output(f"cp /tmp/before {zone}; knotc reload")
    for server in servers:
        assert eventually(lambda server=server: "NXDOMAIN" in dig(server, "A new.example.test")), journal(server)


def test_the_secondary_serves_alone(host, secondary):
    host.check_output("systemctl stop knot")
    try:
        secondary.check_output("systemctl restart knot")
        assert "; fully validated" in delv(secondary, "MX example.test", "example.test")
    finally:
        host.check_output("systemctl start knot")


def test_a_removed_zone_is_gone(servers):
    for server in servers:
        assert "status: REFUSED" in dig(server, "SOA gone.test")
        assert server.run("find /etc/knot /var/lib/knot -name 'gone.test*'").stdout == ""
    # its key is kept, for the day it comes back
    assert "gone.test" in servers[0].check_output("keymgr --list")


def test_secrets_are_knots_alone(host):
    for path in ("/etc/knot/keys.conf", "/var/lib/knot/keys"):
        assert host.run(f"runuser -u nobody -- cat {path}").rc != 0
    assert host.run("runuser -u knot -- cat /etc/knot/keys.conf").rc == 0


def test_hardened(servers):
    for server in servers:
        exposure = server.check_output("systemd-analyze security --no-pager knot | tail -n 1")
        assert float(re.search(r"\d+\.\d+", exposure).group()) <= 4.0
        properties = server.check_output("systemctl show knot --property User,ProtectSystem,NoNewPrivileges,PrivateDevices")
        assert set(properties.split()) == {"User=knot", "ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateDevices=yes"}


def test_floods_are_truncated(host):
    """Over the limit an answer over UDP says only: ask over TCP. Last, for its asker is then limited for a while"""
    flood = f"""
import socket
# SOA example.test
query = bytes.fromhex("123400000001000000000000" "076578616d706c65" "0474657374" "00" "00060001")
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.connect(("{addresses(host)[0]}", 53))
asker.settimeout(2)
truncated = 0
for _ in range(1000):
    asker.send(query)
    truncated += asker.recv(4096)[2] >> 1 & 1
print(truncated)
"""
    assert int(host.check_output(f"python3 -c '{flood}'")) > 0
    assert dig(host, "+tcp +short A ns1.example.test") == "192.0.2.1\n"
