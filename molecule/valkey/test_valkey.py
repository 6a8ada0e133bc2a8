"""What valkey promises, asked of the running daemon."""

from conftest import eventually

CLI = "valkey-cli -s /run/valkey/valkey.sock"


def ask(host, command):
    """Answer of the daemon, once it is up and has read what it had."""
    answer = eventually(lambda: (said := host.run(f"{CLI} {command}")).rc == 0 and not said.stdout.startswith("LOADING") and said)
    assert answer, host.run("journalctl -n 30 -u valkey-server").stdout
    return answer.stdout.strip()


def test_members_of_the_group_get_in_and_nobody_else(host):
    assert ask(host, "ping") == "PONG"
    inside = host.run(f"setpriv --reuid nobody --regid valkey --clear-groups {CLI} ping")
    assert inside.stdout.strip() == "PONG"
    outside = host.run(f"setpriv --reuid nobody --regid nogroup --clear-groups {CLI} ping")
    assert "Permission denied" in outside.stdout + outside.stderr


def test_no_port_is_open(host):
    pid = host.check_output("systemctl show --value -p MainPID valkey-server")
    assert f"pid={pid}," not in host.check_output("ss -Hltunp")
    assert f"pid={pid}," in host.check_output("ss -Hlxp")


def test_memory_is_bounded_and_what_was_stored_to_stay_stays(host):
    ask(host, "set stays 1")
    host.check_output("for i in $(seq 1 60); do head -c 1000000 /dev/zero | " + CLI + " -x setex filler$i 600 >/dev/null; done")
    used = int(ask(host, "info memory").split("used_memory:")[1].split()[0])
    assert used <= 32 * 1024 * 1024
    assert int(ask(host, "info stats").split("evicted_keys:")[1].split()[0]) > 0
    assert ask(host, "get stays") == "1"
    ask(host, "flushall")


def test_what_was_written_survives_a_kill(host):
    # the journal reaches the disk every second: wait for that
    host.check_output(f"printf 'set survivor here\\nwaitaof 1 0 5000\\n' | {CLI}")
    host.check_output("systemctl kill -s KILL valkey-server")
    assert ask(host, "get survivor") == "here"
    ask(host, "del survivor")


def test_what_was_written_survives_another_persistence(host, play):
    ask(host, "set survivor here")
    checked = play("playbooks/valkey.yml", "--check", groups=["valkey"], variables={"valkey_maxmemory_mib": 64})
    assert checked.returncode == 0, checked.stdout
    for persistence, appends in (("snapshot", "no"), ("journal", "yes")):
        done = play("playbooks/valkey.yml", groups=["valkey"], variables={"valkey_persistence": persistence})
        assert done.returncode == 0, done.stdout
        assert ask(host, "config get appendonly").split() == ["appendonly", appends]
        assert ask(host, "get survivor") == "here", persistence
    ask(host, "del survivor")


def test_there_is_no_configuration_that_the_daemon_could_rewrite(host):
    assert "without a config file" in ask(host, "config rewrite")
    assert ask(host, "config get save").split() == ["save"]
    assert ask(host, "config get appendonly").split() == ["appendonly", "yes"]


def test_the_unit_is_hardened(host):
    score = host.check_output("systemd-analyze security --no-pager valkey-server | tail -n 1")
    assert float(score.split(":")[1].split()[0]) <= 4.0, score
    families = host.check_output("systemctl show --value -p RestrictAddressFamilies valkey-server")
    assert families.strip() == "AF_UNIX"
