"""What NAME promises, asked of the running daemon."""

from conftest import eventually

ASK = "timeout 5 socat -u TCP:127.0.0.1:{port} -"


def ask(host, port):
    """Its answer, once it is up."""
    answer = eventually(lambda: host.run(ASK.format(port=port)).stdout, 20)
    assert answer, host.run("journalctl -n 30 -u NAME").stdout
    return answer


def test_it_greets_on_its_port_and_on_no_other(host):
    assert "Bonjour" in ask(host, 7007)
    assert host.run(ASK.format(port=7008)).rc != 0


def test_only_loopback_reaches_it(host):
    assert " 127.0.0.1:7007 " in host.check_output("ss -Hltn sport = :7007")
    assert " 0.0.0.0:7007 " not in host.check_output("ss -Hltn sport = :7007")


def test_the_unit_is_hardened(host):
    score = host.check_output("systemd-analyze security --no-pager NAME | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score
    assert host.check_output("systemctl show --value -p User NAME") == "NAME"
