"""What base promises, tried on the host as an administrator, a stranger and apt would."""

import time

import pytest

SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR -o IdentitiesOnly=yes"


def ssh(host, user, command, key="anna.key", options=""):
    return host.run(f"{SSH} -i /srv/{key} {options} {user}@127.0.0.1 '{command}'")


def test_a_listed_key_enters_and_another_does_not(host):
    entered = ssh(host, "anna", "id -un")
    assert entered.stdout.strip() == "anna", entered.stderr + host.run("journalctl -n 30 -u ssh").stdout
    refused = ssh(host, "anna", "id -un", key="other.key")
    assert "Permission denied (publickey)" in refused.stderr
    # nor does one that sshd would look for elsewhere
    elsewhere = "~anna/.ssh/authorized_keys2"
    host.check_output(f"install -o anna -m 0600 /srv/other.key.pub {elsewhere}")
    refused = ssh(host, "anna", "id -un", key="other.key")
    host.check_output(f"rm {elsewhere}")
    assert "Permission denied (publickey)" in refused.stderr


def test_root_and_passwords_do_not_enter(host):
    assert "Permission denied (publickey)" in ssh(host, "root", "true").stderr
    # the server does not even offer to be asked for one
    offered = ssh(host, "anna", "true", options="-o PreferredAuthentications=password,keyboard-interactive")
    assert "Permission denied (publickey)" in offered.stderr


def test_what_runs_code_that_an_update_replaced_is_restarted_and_nothing_else(host):
    """Of units that no package brings, as those of roles are."""
    for name in ("old", "fresh", "upgrade-of-something"):
        host.check_output(
            f"cp /usr/bin/tail /usr/local/bin/{name} && systemd-run -q --unit={name} /usr/local/bin/{name} -f /dev/null"
        )

    def processes():
        names = ("old", "fresh", "upgrade-of-something")
        return {name: host.check_output(f"systemctl show --value -p MainPID {name}") for name in names}

    try:
        before = processes()
        for name in ("old", "upgrade-of-something"):
            host.check_output(f"cp --remove-destination /usr/bin/tail /usr/local/bin/{name}")
        host.check_output("apt-get install -qq --reinstall -y less")
        after = processes()
        assert {name for name in before if after[name] != before[name]} == {"old"} and after["old"] != "0", (before, after)
    finally:
        host.run("systemctl stop old fresh upgrade-of-something; rm /usr/local/bin/{old,fresh,upgrade-of-something}")


def test_only_who_may_becomes_root(host):
    assert ssh(host, "anna", "sudo -n id -un").stdout.strip() == "root"
    assert ssh(host, "marc", "id -un").stdout.strip() == "marc"
    assert ssh(host, "marc", "sudo -n id -un").rc != 0


def test_an_administrator_who_left_is_gone_with_processes_home_and_rights(host):
    assert host.run("getent passwd left").rc == 2
    assert not host.file("/home/left").exists
    assert host.run("systemctl is-active left-behind").stdout.strip() == "inactive"
    assert host.file("/home/anna").exists
    assert host.run("sudo -n -l -U anna").stdout.count("NOPASSWD: ALL") == 1
    assert "left" not in host.check_output("cat /etc/sudoers.d/perron")


def test_ssh_audit_finds_nothing_to_say(host):
    audit = host.run("ssh-audit --level=warn --no-colors --skip-rate-test ::1")
    assert audit.rc == 0, audit.stdout
    assert "(kex)" not in audit.stdout
    offered = host.run("ssh-audit --no-colors --skip-rate-test ::1").stdout
    kex = [line.split()[1] for line in offered.splitlines() if line.startswith("(kex)")]
    assert kex[:5] == [
        "mlkem768x25519-sha256",
        "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
    ]


def test_who_keeps_failing_is_refused_unless_trusted(host):
    """Twenty failures from ::1, then none of its connections is answered; 127.0.0.0/8 is an administrators' network."""
    attempt = f"{SSH} -i /srv/other.key anna@%s true"
    for address in ("::1", "127.0.0.1"):
        host.run(f"for i in $(seq 1 20); do {attempt % address} & done; wait")
    deadline = time.monotonic() + 30
    while "Permission denied" in (refused := host.run(attempt % "::1")).stderr and time.monotonic() < deadline:
        pass
    assert "Permission denied" not in refused.stderr
    assert ssh(host, "anna", "id -un").stdout.strip() == "anna"


def test_updates_are_security_updates_and_come_by_themselves(host):
    plan = host.run("unattended-upgrade --dry-run --debug")
    assert plan.rc == 0, plan.stderr
    allowed = [line for line in (plan.stdout + plan.stderr).splitlines() if line.startswith("Allowed origins")]
    assert allowed == ["Allowed origins are: origin=Debian,codename=trixie-security,label=Debian-Security"]
    assert host.service("apt-daily-upgrade.timer").is_running
    assert host.service("unattended-upgrades").is_running
    assert host.service("unattended-upgrades").is_enabled
    assert 'APT::Periodic::Unattended-Upgrade "1"' in host.check_output("apt-config dump")


def test_apt_knows_one_archive_and_fetches_from_it(host):
    listed = host.check_output("apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages'")
    assert sorted(set(listed.splitlines())) == [
        "http://deb.debian.org/debian-security/ trixie-security",
        "http://deb.debian.org/debian/ trixie",
        "http://deb.debian.org/debian/ trixie-updates",
    ]
    assert host.run("cd /tmp && apt-get download hostname && rm hostname_*.deb").rc == 0


def test_what_a_killed_run_left_was_finished(host):
    assert host.check_output("dpkg-query --show --showformat '${db:Status-Abbrev}' cut").strip() == "ii"
    assert host.check_output("dpkg --audit; ls /var/lib/dpkg/updates") == ""
    # no daemon could start while it was finished; from now on they can
    assert host.file("/srv/finished").exists
    assert not host.file("/usr/sbin/policy-rc.d").exists


def test_what_a_killed_run_did_not_restart_was_restarted_and_nothing_else(host):
    def ran_on(unit):
        return host.run(f"systemctl show --value -p MainPID scenario-{unit} | cmp - /srv/{unit}.pid").rc == 0

    assert {unit: ran_on(unit) for unit in ("killed", "restarted", "reloaded")} == {
        "killed": False,
        "restarted": True,
        "reloaded": True,
    }
    assert not host.service("scenario-stopped").is_running


def test_time(host):
    assert host.check_output("date --date=2026-07-01T12:00Z +%H:%M") == "14:00"
    # Whether it runs is not ours to say: in a container that may not set the clock its own condition keeps it off
    assert "pool 2.debian.pool.ntp.org" in host.run("chronyd -p -f /etc/chrony/chrony.conf").stdout
    assert host.service("chrony").is_enabled
    may_set = int(host.check_output("awk '/CapBnd/ {print $2}' /proc/1/status"), 16) >> 25 & 1
    assert host.service("chrony").is_running == bool(may_set)
    assert not host.socket("udp://0.0.0.0:123").is_listening
    assert not host.socket("udp://127.0.0.1:323").is_listening


@pytest.mark.parametrize("locale, month", [("fr_BE", "mars"), ("nl_BE", "maart"), ("de_BE", "March")])
def test_listed_locales_speak_and_unlisted_ones_do_not(host, locale, month):
    assert host.check_output(f"LC_ALL={locale}.UTF-8 date --date=2026-03-01 +%B 2>/dev/null") == month


def test_locale(host):
    assert host.check_output("cat /etc/locale.conf") == "LANG=C.UTF-8"


def test_name(host):
    assert host.check_output("hostname") == "senne"
    assert host.check_output("hostname --fqdn") == "senne.coop.test"
    assert host.check_output("getent ahostsv4 senne.coop.test").startswith("192.0.2.10")
    assert host.check_output("getent ahostsv6 senne.coop.test").startswith("2001:db8::10")


def test_journal_stays_and_is_bounded(host):
    host.check_output("logger --tag base-test kept")
    host.check_output("journalctl --sync")
    assert "kept" in host.check_output("journalctl --directory=/var/log/journal --identifier=base-test --output=cat")
    said = host.check_output("journalctl --unit=systemd-journald --grep='System Journal' --output=cat --lines=1")
    assert "max 1G" in said


def test_kernel_parameters(host):
    for parameter, value in {"net.ipv4.conf.all.rp_filter": 1, "net.ipv6.conf.all.accept_redirects": 0}.items():
        assert host.sysctl(parameter) == value
    # in a container the rest is the machine's own
    assert "kernel." not in host.check_output("cat /etc/sysctl.d/60-perron.conf")


def test_one_s_own_authority_is_trusted_and_one_no_longer_listed_is_not(host):
    verify = "openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /srv/%s.pem"
    assert host.run(verify % "kept").rc == 0
    assert host.run(verify % "dropped").rc != 0
    assert not host.file("/etc/ssl/certs/dropped.pem").is_symlink


def test_no_unit_failed(host):
    assert host.check_output("systemctl --failed --no-legend --plain") == ""


# As Ansible's pipelining does it: a script on standard input, which imports from a zip file
SENT = """
import sys, zipfile
with zipfile.ZipFile("/tmp/sent.zip", "w") as sent:
    sent.writestr("sent/__init__.py", "")
    sent.writestr("sent/said.py", "TEXT = {text!r}")
sys.path.insert(0, "/tmp/sent.zip")
import sent.said
print(sent.said.TEXT, sent.said.__file__)
"""


def test_python_remembers_what_ansible_sends_and_nothing_else(host):
    def said(text, python="python3", before=""):
        return host.run(f"{before} {python} <<'END'\n{SENT.format(text=text)}END").stdout.split()

    memory = "/var/cache/ansible/cpython-313"
    host.check_output(f"rm -rf {memory}")
    assert said("one") == ["one", "/tmp/sent.zip/sent/said.py"]  # noqa: S108 # the scenario's own host
    entries = host.check_output(f"ls {memory}").split()
    assert len(entries) == 2
    # that it is used: every entry is exchanged for another's code
    host.check_output(f"""python3 -c '
import marshal, pathlib
for path in pathlib.Path("{memory}").iterdir():
    path.write_bytes(marshal.dumps(compile("TEXT = 4", "x", "exec")))'""")
    assert said("one")[0] == "4"
    # another source is another entry, and an entry that is broken is none
    assert said("two")[0] == "two"
    host.check_output(f"truncate -s 5 {memory}/*")
    assert said("one")[0] == "one"
    # a module that another user runs, Python as it is otherwise started, and no room
    assert said("six", "setpriv --reuid nobody --clear-groups python3", "rm -f /tmp/sent.zip;")[0] == "six"
    assert said("seven", "python3 -", "rm -f /tmp/sent.zip;")[0] == "seven"
    assert host.check_output(f"ls {memory} | wc -l") == "3"
    assert host.check_output("stat --format '%a %U' /var/cache/ansible/cpython-313") == "700 root"
    host.check_output(f"rm -rf {memory} && ln -s /proc/nowhere {memory}")
    assert said("nine")[0] == "nine"
    host.check_output(f"rm {memory}")
