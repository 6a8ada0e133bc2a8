"""What the cooperative's hosts and the journeys rely on: each good case beside its bad one."""

import json
import uuid

import pytest
from conftest import eventually
from testinfra.host import Host

NAMES = ("10.89.54.251", "fd53:c00b:0:54::251")
MAIL = ("10.89.54.252", "fd53:c00b:0:54::252")
MAILDIR = "/srv/mail/victor/new"


def dig(host: Host, question: str) -> str:
    return host.check_output(f"dig +dnssec +tries=2 {question}")


def own(host: Host, family: str) -> str:
    """The address that clients on world come from."""
    links = json.loads(host.check_output(f"ip -j -{family} address show dev eth0 scope global"))
    return next(a["local"] for a in links[0]["addr_info"] if a["preferred_life_time"])


@pytest.mark.parametrize("unit", ["knot", "unbound", "pebble", "opendkim", "opendmarc", "postfix"])
def test_service(host: Host, unit: str) -> None:
    service = host.service(unit)
    assert service.is_running and service.is_enabled, host.run(f"journalctl -u {unit} -n 50").stdout


def test_authority_is_contained(host: Host) -> None:
    score = host.check_output("systemd-analyze security --no-pager pebble.service | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score


@pytest.mark.parametrize("question", ["stranger.test MX", "acme.test AAAA", ". SOA", "-x 10.89.54.252", "-x fd53:c00b:0:54::252"])
@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
def test_chain_validates(host: Host, server: str, question: str) -> None:
    answer = dig(host, f"@{server} {question}")
    assert "status: NOERROR" in answer
    assert " ad;" in answer or " ad " in answer.split("QUERY:")[0]


def test_names_that_are_not_there(host: Host) -> None:
    answer = dig(host, "@127.0.0.1 nothing.stranger.test")
    assert "status: NXDOMAIN" in answer and " ad;" in answer


def test_chain_starts_at_the_root_key_and_at_no_other(host: Host) -> None:
    tag, algorithm, digest_type, digest = host.check_output("cat /etc/unbound/root.key").split()[-4:]
    for value, expected in ((digest, "; fully validated"), ("0" * 64, "resolution failed")):
        anchor = f'trust-anchors {{ "." static-ds {tag} {algorithm} {digest_type} "{value}"; }};'
        host.check_output(f"echo '{anchor}' >/tmp/anchor.conf")
        said = host.run("delv @127.0.0.1 -a /tmp/anchor.conf +root=. stranger.test MX")
        assert expected in said.stdout + said.stderr


@pytest.mark.parametrize("server", NAMES)
def test_delegation(host: Host, server: str) -> None:
    answer = host.check_output(f"dig +norecurse @{server} coop.test NS")
    assert "ns1.coop.test." in answer and "10.89.54.250" in answer and " aa " not in answer


def test_name_server_does_not_recurse(host: Host) -> None:
    assert "status: REFUSED" not in host.check_output(f"dig @{NAMES[0]} stranger.test MX")
    assert " ra" not in host.check_output(f"dig @{NAMES[0]} stranger.test MX").split("QUERY:")[0]


def test_reverse_names(host: Host) -> None:
    assert host.check_output("dig +short -x 10.89.54.250") == "mail.coop.test."
    assert host.check_output("dig +short -x fd53:c00b:0:54::252") == "mx.stranger.test."


def test_authority_answers_over_verified_tls(host: Host) -> None:
    directory = json.loads(host.check_output("curl -sS --fail https://acme.test:14000/dir"))
    assert directory["newOrder"].startswith("https://acme.test:14000/")
    another = "--capath /var/empty --cacert /etc/ssl/certs/ISRG_Root_X1.pem"
    assert host.run(f"curl -sS {another} https://acme.test:14000/dir").rc == 60, "of an authority that is not known"
    assert host.run("curl -sS https://world.test:14000/dir").rc != 0, "a name that the certificate has not"


def test_authority_is_managed_from_world_alone(host: Host) -> None:
    assert host.run("curl -sS --fail https://localhost:15000/roots/0").rc == 0
    assert host.run(f"curl -sSk https://{own(host, '4')}:15000/roots/0").rc != 0


def test_root_is_trusted(host: Host) -> None:
    host.check_output("curl -sS --fail https://localhost:15000/intermediates/0 >/tmp/intermediate.pem")
    host.check_output("openssl verify -CApath /etc/ssl/certs /tmp/intermediate.pem")


def send(host: Host, options: str, sender: str = "sarah@stranger.test") -> tuple[str, int, str]:
    mark = uuid.uuid4().hex
    result = host.run(f"swaks --from {sender} --to victor@stranger.test --header 'Subject: {mark}' {options}")
    return mark, result.rc, result.stdout


def received(host: Host, mark: str, seconds: int = 20) -> str:
    return eventually(lambda: host.run(f"cat $(grep -rl {mark} {MAILDIR}) </dev/null").stdout, seconds)


def test_what_is_sent_from_world_is_signed_and_passes_elsewhere(host: Host) -> None:
    mark, code, said = send(host, "--server 127.0.0.1")
    assert code == 0, said
    message = received(host, mark)
    assert "d=stranger.test" in message
    # Once more as an elsewhere would get it: from an address that SPF does not name, as it was signed
    delivered = host.check_output(f"grep -rl {mark} {MAILDIR}")
    host.check_output(f"sed -n '/^DKIM-Signature/,$p' {delivered} >/tmp/signed.eml; rm {delivered}")
    elsewhere = f"--server {MAIL[0]} --local-interface {own(host, '4')}"
    host.check_output(f"swaks {elsewhere} --from sarah@stranger.test --to victor@stranger.test --data @/tmp/signed.eml")
    again = received(host, mark)
    assert "dkim=pass" in again and "spf=fail" in again and "dmarc=pass" in again


@pytest.mark.parametrize("family", ["4", "6"])
def test_forged_mail_is_refused(host: Host, family: str) -> None:
    server = MAIL[0] if family == "4" else MAIL[1]
    mark, code, said = send(host, f"--server {server} --local-interface {own(host, family)}")
    assert code != 0
    assert "550 5.7.1 rejected by DMARC policy" in said
    genuine, code, said = send(host, f"--server {server} --local-interface {server} --tls")
    assert code == 0, said
    message = received(host, genuine)
    assert "spf=pass" in message and "dmarc=pass" in message and "using TLSv1.3" in message
    assert mark not in host.run(f"cat {MAILDIR}/*").stdout


def test_refusals(host: Host) -> None:
    options = f"--server {MAIL[0]} --local-interface {own(host, '4')}"
    assert "550 5.1.1" in host.run(f"swaks {options} --from a@coop.test --to nobody@stranger.test").stdout
    assert "554 5.7.1" in host.run(f"swaks {options} --from a@coop.test --to a@coop.test").stdout


@pytest.mark.parametrize("server", ["mx", "mx4", "mx6"])
def test_certificate_is_the_one_that_dane_names(host: Host, server: str) -> None:
    probe = f"posttls-finger -c -l dane-only '[{server}.stranger.test]' 2>&1"
    assert "Verified TLS connection established" in host.check_output(probe)
