"""What a program on the host learns from its resolver, below a signed root made for this scenario."""

import re

import pytest


def dig(host, question, server="127.0.0.1"):
    return host.run(f"dig +time=3 +tries=2 @{server} {question}").stdout


def status(answer):
    found = re.search(r"status: (\w+)", answer)
    return found and found.group(1)


def flags(answer):
    return re.search(r"flags:([^;]*);", answer).group(1).split()


def test_runs_and_starts_at_boot(host):
    assert host.service("unbound").is_running, host.run("journalctl --no-pager -n 50 -u unbound").stdout
    assert host.service("unbound").is_enabled


@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("protocol", ["+notcp", "+tcp"])
def test_validates(host, server, protocol):
    answer = dig(host, f"{protocol} A www.good", server)
    assert "198.51.100.1" in answer
    assert "ad" in flags(answer)


def test_a_signed_no_is_validated(host):
    answer = dig(host, "A nobody.good")
    assert status(answer) == "NXDOMAIN"
    assert "ad" in flags(answer)


def test_bogus_is_refused(host):
    answer = dig(host, "A www.bogus")
    assert status(answer) == "SERVFAIL"
    assert "198.51.100.1" not in answer
    # it is the signature that is wrong, not the server
    assert "198.51.100.1" in dig(host, "+cd A www.bogus")


def test_unsigned_is_answered_without_the_flag(host):
    answer = dig(host, "A www.insecure")
    assert "198.51.100.1" in answer
    assert "ad" not in flags(answer)


def test_names_of_the_internet_do_not_point_inside(host):
    assert "10.1.2.3" not in dig(host, "A inside.good")
    # unless their domain may
    assert "10.1.2.3" in dig(host, "A inside.test")


def test_only_the_zones_given_back_are_asked_for(host):
    assert "198.51.100.1" in dig(host, "A www.test")
    assert "198.51.100.1" in dig(host, "A www.10.in-addr.arpa")
    answer = dig(host, "PTR 1.0.168.192.in-addr.arpa")
    assert status(answer) == "NXDOMAIN"
    assert "localhost" in answer  # unbound's own word


def test_programs_use_it(host):
    assert "198.51.100.1" in host.check_output("getent ahostsv4 www.good")
    assert "198.51.100.1" in host.check_output("getent ahostsv4 www")  # search
    assert host.run("getent ahostsv4 www.bogus").rc != 0


def test_serves_this_host_alone(host):
    for address in host.check_output("hostname --all-ip-addresses").split():
        if not address.startswith(("192.0.2.", "2001:db8:")):  # the scenario's Internet
            assert host.run(f"dig +time=1 +tries=1 @{address} A www.good").rc != 0
            if ":" not in address:
                assert status(dig(host, f"-b {address} A www.good")) == "REFUSED"


def test_says_nothing_of_itself(host):
    for name in ("version.bind", "id.server", "hostname.bind"):
        assert status(dig(host, f"CH TXT {name}")) == "REFUSED"


def test_nothing_is_served_stale(host):
    assert host.check_output("unbound-control get_option serve-expired") == "no"


def test_control_is_roots(host):
    assert "is running" in host.check_output("unbound-control status")
    assert host.run("runuser -u nobody -- unbound-control status").rc != 0


def test_the_internets_root_was_there_before(host):
    """The first run was with the defaults: Debian's key copied to where unbound may follow it"""
    assert host.file("/var/lib/unbound/root.key").user == "unbound"
    assert "20326" in host.file("/var/lib/unbound/root.key").content_string


def test_hardened(host):
    exposure = host.check_output("systemd-analyze security --no-pager unbound | tail -n 1")
    assert float(re.search(r"\d+\.\d+", exposure).group()) <= 4.0
    properties = host.check_output("systemctl show unbound --property User,ProtectSystem,NoNewPrivileges,PrivateDevices")
    assert set(properties.split()) == {"User=unbound", "ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateDevices=yes"}
    assert host.check_output("ps -o user= -C unbound").strip() == "unbound"
