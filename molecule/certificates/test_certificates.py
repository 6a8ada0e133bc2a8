"""Certificates from a real authority, by real dynamic updates: what is served, renewed, kept and refused."""

import contextlib
import re

import pytest
import yaml
from conftest import ROOT

SERVED = "/etc/certificates"
STATE = "/var/lib/acme/certs"


def serial(host, name="mail"):
    return host.check_output(f"openssl x509 -in {SERVED}/{name}/fullchain.pem -noout -serial")


def fingerprint(host, key):
    return host.check_output(f"openssl pkey -in {key} -pubout -outform DER | sha256sum | cut -d' ' -f1")


def log(host):
    return host.run("journalctl -u certificates --invocation 0 -o cat --no-pager").stdout


def renew(host, name="mail"):
    """Obtain NAME again; what the unit said."""
    result = host.run(f"certificates force {name}")
    return result, log(host)


ASKED = "/etc/dehydrated/domains.txt"


@pytest.fixture(scope="module", autouse=True)
def without_the_members(host):
    """Converged with two domains that get no certificate, which leave the unit failed; the tests speak of those that do."""
    with changed(host, f"cp -p {ASKED} {ASKED}.whole; sed -i '/ > mail-/d' {ASKED}", f"mv {ASKED}.whole {ASKED}"):
        yield


@contextlib.contextmanager
def changed(host, do, undo):
    host.check_output(do)
    try:
        yield
    finally:
        host.check_output(undo)


@pytest.mark.parametrize(
    ("name", "names"),
    [("mail", {"mail.coop.test", "imap.coop.test"}), ("directory", {"ldap.coop.test"})],
)
def test_served_for_its_names_and_trusted_by_this_host(host, name, names):
    path = f"{SERVED}/{name}"
    has = host.check_output(f"openssl x509 -in {path}/fullchain.pem -noout -ext subjectAltName")
    assert set(re.findall(r"DNS:([^,\s]+)", has)) == names
    verify = "openssl verify -purpose sslserver -untrusted {0}/chain.pem -verify_hostname {1} {0}/fullchain.pem"
    for hostname in names:
        host.check_output(verify.format(path, hostname))
    assert host.run(verify.format(path, "other.coop.test")).rc != 0
    # without the authority's root nobody would believe it: nothing here is signed by itself
    assert host.run(f"openssl verify -no-CAfile -no-CApath -no-CAstore -untrusted {path}/chain.pem {path}/fullchain.pem").rc != 0
    assert "NIST CURVE: P-256" in host.check_output(f"openssl x509 -in {path}/fullchain.pem -noout -text")


def test_consumers_read_the_key_and_others_do_not(host):
    read = "setpriv --reuid nobody --regid {} --clear-groups cat " + f"{SERVED}/mail/privkey.pem"
    assert "PRIVATE KEY" in host.check_output(read.format("ssl-cert"))
    assert "Permission denied" in host.run(read.format("nogroup")).stderr
    assert host.run(f"setpriv --reuid acme --regid acme --clear-groups touch {SERVED}/mail/fullchain.pem").rc != 0


def test_a_renewal_keeps_the_key_and_reloads_the_consumers(host):
    reload = f"{SERVED}/reload.d/test"
    with changed(
        host,
        f"printf '#!/bin/sh\nopenssl x509 -in {SERVED}/mail/fullchain.pem -noout -serial >/run/reloaded\n' >{reload};"
        f" chmod 755 {reload}",
        f"rm -f {reload} /run/reloaded",
    ):
        before, key, other = serial(host), fingerprint(host, f"{SERVED}/mail/privkey.pem"), serial(host, "directory")
        result, said = renew(host)
        assert result.rc == 0, said
        assert serial(host) != before
        # the TLSA record stays true
        assert fingerprint(host, f"{SERVED}/mail/privkey.pem") == key == fingerprint(host, f"{STATE}/mail/privkey.pem")
        # the consumer was called when the new one was in place
        assert host.file("/run/reloaded").content_string.strip() == serial(host)
        assert serial(host, "directory") == other
        # nothing due: nothing asked, nobody reloaded
        host.check_output("rm /run/reloaded; systemctl start certificates")
        assert not host.file("/run/reloaded").exists


def test_what_is_near_its_end_is_renewed_by_what_the_timer_starts(host):
    days = "sed -i 's/^RENEW_DAYS=.*/RENEW_DAYS={}/' /etc/dehydrated/config"
    (kept,) = re.findall(r"^RENEW_DAYS=(\d+)$", host.file("/etc/dehydrated/config").content_string, re.M)
    assert host.check_output("systemctl show --value -p Triggers certificates.timer") == "certificates.service"
    before = serial(host), serial(host, "directory")
    with changed(host, days.format(3650), days.format(kept)):  # as if ten years before the end were late
        host.check_output("systemctl start certificates.service")
    assert not {serial(host), serial(host, "directory")} & set(before)
    assert host.check_output("certificates due") == ""


def test_a_consumer_that_failed_to_reload_is_seen_and_tried_again(host):
    reload = f"{SERVED}/reload.d/test"
    with changed(host, f"printf '#!/bin/sh\nexit 3\n' >{reload}; chmod 755 {reload}", f"rm -f {reload}"):
        result, said = renew(host)
        assert result.rc != 0
        assert f"{reload} exited with return code 3" in said
        host.check_output(f"printf '#!/bin/sh\ntouch /run/reloaded\n' >{reload}; systemctl start certificates")
        assert host.file("/run/reloaded").exists
    host.check_output("rm /run/reloaded")


def test_a_run_that_the_timer_began_is_waited_for(host):
    """What it began with may lack the newest names."""
    # the timer's run takes its time, as an authority may: what is tested does not wait by it, but for it
    waits = "/run/systemd/system/certificates.service.d/wait.conf"
    with changed(
        host,
        f"mkdir -p $(dirname {waits}); printf '[Service]\nExecStartPre=/bin/sleep 5\n' >{waits}; systemctl daemon-reload;"
        " systemctl start --no-block certificates",
        f"rm -r $(dirname {waits}); systemctl daemon-reload",
    ):
        tasks = yaml.safe_load((ROOT / "roles/certificates/tasks/issue.yml").read_text())
        (obtain,) = (task["ansible.builtin.shell"]["cmd"] for task in tasks if "ansible.builtin.shell" in task)
        began = host.check_output("systemctl show --value -p InvocationID certificates")
        host.check_output("sh -ec %s", obtain)
        assert host.check_output("systemctl show --value -p InvocationID certificates") != began


def test_no_proof_stays_in_the_zone(host):
    for server in ("127.0.0.1", "127.0.0.2"):
        assert host.check_output(f"kdig @{server} _acme-challenge.mail.coop.test TXT +short") == ""


def test_a_key_the_name_server_does_not_know_is_named_as_the_cause(host):
    conf = "/etc/dehydrated/dns.json"
    before = serial(host)
    with changed(
        host,
        f"cp -p {conf} {conf}.bak; sed -i '/key/s/acme/stranger/' {conf}",
        f"mv {conf}.bak {conf}",
    ):
        result, said = renew(host)
    assert result.rc != 0
    assert "127.0.0.1 does not know the key 'stranger'" in said
    assert serial(host) == before


def test_a_secondary_that_lags_is_waited_for_and_one_that_never_shows_it_fails(host):
    conf = "/etc/dehydrated/dns.json"
    before = serial(host)
    # frozen, the zone takes no transfer, as when the secondary cannot reach the primary
    control = "knotc -s /run/knot-two/knot.sock -b"
    with changed(
        host,
        f"{control} zone-freeze coop.test; cp -p {conf} {conf}.bak; sed -i '/wait/s/60/3/' {conf}",
        f"{control} zone-thaw coop.test; {control} zone-refresh coop.test; mv {conf}.bak {conf}",
    ):
        result, said = renew(host)
        assert result.rc != 0
        assert re.search(r"ns2.coop.test. \(127.0.0.2\) does not show _acme-challenge\.\w+\.coop\.test\. after 3 s", said)
        assert serial(host) == before
        # nor does a failure leave its proofs behind
        assert host.check_output("kdig @127.0.0.1 _acme-challenge.mail.coop.test TXT +short") == ""
    result, said = renew(host)
    assert result.rc == 0, said
    assert serial(host) != before


def test_a_secondary_that_is_away_is_done_without(host):
    before = serial(host)
    with changed(host, "systemctl stop knot-two", "systemctl start knot-two"):
        result, said = renew(host)
    assert result.rc == 0, said
    assert "ns2.coop.test. (127.0.0.2) does not answer" in said
    assert serial(host) != before


def test_while_the_authority_is_down_the_old_one_serves_and_the_unit_fails(host):
    before = serial(host)
    with changed(host, "systemctl stop pebble", "systemctl start pebble"):
        result, said = renew(host)
        assert result.rc != 0
        assert "Problem connecting to server" in said
        assert host.check_output("systemctl is-failed certificates; :") == "failed"
        assert serial(host) == before
        # what is served still holds, and that is what the playbook asks
        assert host.check_output("certificates due 0") == ""
    # pebble came back with another root: what the old one signed is no longer trusted
    assert "mail: this host does not trust its issuer" in host.check_output("certificates due")
    host.check_output("systemctl start certificates")
    assert host.check_output("certificates due") == ""
    assert serial(host) != before


def test_a_foreign_certificate_in_the_place_of_ours_is_replaced(host):
    before = serial(host)
    host.check_output(
        f"cd {SERVED}/mail && openssl req -x509 -key privkey.pem -days 365 -subj /CN=mail.coop.test"
        " -addext subjectAltName=DNS:mail.coop.test,DNS:imap.coop.test -out fullchain.pem"
    )
    assert "mail: this host does not trust its issuer" in host.check_output("certificates due")
    host.check_output("systemctl start certificates")
    assert host.check_output("certificates due") == ""
    assert serial(host) == before  # the good one was at hand, the authority was not asked


def test_names_and_end_are_looked_at(host):
    with changed(
        host,
        "cp /etc/dehydrated/domains.txt /run/; sed -i 's/imap.coop.test/pop.coop.test/' /etc/dehydrated/domains.txt",
        "mv /run/domains.txt /etc/dehydrated/",
    ):
        due = host.check_output("certificates due")
        assert "mail: it names imap.coop.test mail.coop.test instead of mail.coop.test pop.coop.test" in due
        assert "directory" not in due
    assert re.search(r"^mail: it ends on \d{4}-", host.check_output("certificates due 3650"), re.M)


def test_a_roll_serves_the_key_that_was_published_ahead(host):
    standby = fingerprint(host, f"{STATE}/directory/privkey.roll.pem")
    leaked = "/var/lib/acme/leaked.pem"
    host.check_output(f"cp {SERVED}/directory/fullchain.pem {leaked}; chown acme: {leaked}")
    host.check_output("certificates roll directory")
    assert fingerprint(host, f"{SERVED}/directory/privkey.pem") == standby
    assert host.check_output("certificates due") == ""
    # the handbook's last step for a key that leaked
    host.check_output(f"runuser -u acme -- dehydrated --revoke {leaked} && rm {leaked}-revoked")
    refused = host.run("certificates roll nothing")
    assert refused.rc != 0
    # the role makes the next standby and publishes it; here by hand, as this host has to stay as converged
    host.check_output(
        f"cd {STATE}/directory; openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
        " -out privkey.roll.pem; chown acme: privkey.roll.pem"
    )


def test_the_link_of_a_malicious_client_gives_it_nothing(host):
    """The user acme may write what root hands over: a link to root's file must not be followed as root,
    not even to one that would do as a chain: what comes before the certificates in it is passed over."""
    path = f"{STATE}/directory/chain.pem"
    with changed(
        host,
        f"readlink {path} >/run/link; (umask 077; (echo of-root; cat {path}) >/root/chain.pem); ln -sf /root/chain.pem {path}",
        f'ln -sf "$(cat /run/link)" {path}; rm /run/link /root/chain.pem',
    ):
        host.run("certificates deploy")
        assert "of-root" not in host.file(f"{SERVED}/directory/chain.pem").content_string


def test_the_timer_is_armed_and_spread(host):
    shown = host.check_output("systemctl show certificates.timer -p ActiveState -p RandomizedDelayUSec -p FixedRandomDelay")
    assert "ActiveState=active" in shown
    assert "RandomizedDelayUSec=12h" in shown
    assert "FixedRandomDelay=yes" in shown


def test_the_client_runs_confined_and_as_nobody_special(host):
    score = host.check_output("systemd-analyze security --no-pager certificates | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score
    assert host.check_output("systemctl show --value -p User certificates") == "acme"
    assert not host.run("setpriv --reuid nobody --regid nogroup --clear-groups cat /etc/dehydrated/dns.json").stdout


def test_a_members_domain_that_gets_none_stops_no_other_and_is_asked_for_again_until_it_does(host):
    conf, of_member = "/etc/pebble/config.json", f"{SERVED}/mail-famille.test"
    with changed(host, f"cp -p {ASKED} {ASKED}.own; cp {ASKED}.whole {ASKED}", f"mv {ASKED}.own {ASKED}"):
        missing = ["mail-famille.test: there is none", "mail-nowhere.test: there is none"]
        assert host.check_output("certificates due").splitlines() == missing
        before = serial(host)
        result, said = renew(host)
        assert result.rc != 0
        assert serial(host) != before, said
        assert host.check_output("certificates due").splitlines() == missing
        # as once it is delegated; with the authority's start comes another root, by which all are due
        host.check_output(f"sed -i.bak 's/\"famille.test\"//' {conf}; systemctl restart pebble")
        try:
            # the other still gets none
            assert host.run("systemctl start certificates").rc != 0
            assert host.check_output("certificates due").splitlines() == missing[1:], log(host)
            assert host.file(f"{of_member}/fullchain.pem").exists
        finally:
            host.check_output(f"mv {conf}.bak {conf}; systemctl restart pebble; rm -rf {of_member}")
    # for the next root, so that these tests hold once more
    host.check_output("systemctl start certificates")
    assert host.check_output("certificates due") == ""
