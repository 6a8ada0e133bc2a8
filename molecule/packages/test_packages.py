"""What packages promises, asked of dpkg and systemd."""

CONVERGE = "molecule/packages/converge.yml"


def test_what_is_named_is_there_and_what_is_merely_recommended_is_not(host):
    for name in ("git", "socat", "valkey-server", "knot"):
        assert host.package(name).is_installed, name
    recommends = host.check_output("dpkg-query --show --showformat '${Recommends}' git")
    assert "patch" in recommends and not host.package("patch").is_installed


def test_a_daemon_starts_only_if_it_may(host):
    assert host.run("systemctl is-active valkey-server").stdout.strip() == "active"
    assert host.run("systemctl is-active knot").stdout.strip() == "inactive"


def test_a_run_asks_apt_for_nothing_unless_something_is_missing(host, play):
    """apt's lists are away: who asks it notices."""
    host.check_output("mv /var/lib/apt/lists /var/lib/apt/away")
    try:
        run = play(CONVERGE, "--skip-tags", "refused", groups=["valkey"])
        assert run.returncode == 0, run.stdout + run.stderr
        assert "changed=0" in run.stdout
    finally:
        host.check_output("rm -rf /var/lib/apt/lists && mv /var/lib/apt/away /var/lib/apt/lists")


def test_what_was_taken_away_comes_back(host, play):
    host.check_output("apt-get remove -y socat knot")
    assert "config-files" in host.check_output("dpkg-query --show --showformat '${db:Status-Status}' knot")
    run = play(CONVERGE, groups=["valkey"])
    assert run.returncode == 0, run.stdout + run.stderr
    assert host.package("socat").is_installed and host.package("knot").is_installed
    assert host.run("systemctl is-active knot").stdout.strip() == "inactive"
