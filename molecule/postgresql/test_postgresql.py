"""What postgresql promises, asked of the running daemon by its clients."""

import os
import re
import time
from pathlib import Path

import pytest
from conftest import eventually

UNIT = "postgresql@17-main"
NETWORK = "host=postgresql.coop.test sslmode=verify-full sslrootcert=/etc/certificates/authority.pem channel_binding=require"
SOCKET = "host=/run/postgresql"
SECRET = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "password").read_text().strip()


def sign_in(host, role, database=None, way=NETWORK, password=None, sql="SELECT 1"):
    """What a client, who is nobody on this host, gets for it."""
    target = f"{way} user={role} dbname={database or role} connect_timeout=5"
    client = "setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/nonexistent PGPASSWORD=%s psql -XAtq %s -c %s"
    return host.run(client, password or f"{role}-{SECRET}", target, sql)


def root(host, sql, database="postgres"):
    """As the superuser, which is the system's user postgres."""
    return host.check_output("runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d %s -c %s", database, sql)


def refused(run, why):
    assert run.rc != 0 and why in run.stderr, run.stdout + run.stderr
    return True


# --- who comes in ----------------------------------------------------------------------------------------------------


def test_a_service_signs_in_over_tls_and_makes_its_tables(host):
    run = sign_in(host, "portal", sql="SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert run.stdout.strip() == "t|TLSv1.3", run.stderr + host.run(f"journalctl -n 30 -u {UNIT}").stdout
    run = sign_in(host, "portal", sql="CREATE TABLE mine (a text); INSERT INTO mine VALUES ('é'); TABLE mine; DROP TABLE mine")
    assert run.stdout.strip() == "é", run.stderr


def test_a_service_signs_in_on_the_socket_with_its_password_only(host):
    assert sign_in(host, "portal", way=SOCKET).stdout.strip() == "1"
    refused(sign_in(host, "portal", way=SOCKET, password="wrong"), "password authentication failed")


def test_a_wrong_password_is_refused(host):
    refused(sign_in(host, "portal", password=f"webmail-{SECRET}"), "password authentication failed")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("sslmode=disable channel_binding=disable", "no encryption"),
        ("ssl_max_protocol_version=TLSv1.2", "protocol version"),
        # the same server by another name, and an authority that did not sign
        ("host=localhost", "does not match"),
        ("sslrootcert=system", "certificate verify failed"),
    ],
)
def test_plain_and_weak_transports_are_refused_by_one_side_or_the_other(host, change, why):
    assert sign_in(host, "portal").rc == 0
    refused(sign_in(host, "portal", way=f"{NETWORK} {change}"), why)


def test_an_address_that_is_not_listed_is_refused_whatever_the_password(host):
    refused(sign_in(host, "elsewhere"), "no pg_hba.conf entry")
    assert sign_in(host, "elsewhere", way=SOCKET).rc == 0
    refused(sign_in(host, "portal", way="host=127.0.0.1 sslmode=require"), "no pg_hba.conf entry")


def test_a_service_cannot_connect_to_anothers_database(host):
    for way in (NETWORK, SOCKET):
        for database in ("webmail", "postgres", "template1"):
            refused(sign_in(host, "portal", database, way), "no pg_hba.conf entry")
    # nor would it, if the rules were looser than they are
    for role, database in (("portal", "webmail"), ("webmail", "portal"), ("portal", "postgres"), ("portal", "template1")):
        assert root(host, f"SELECT has_database_privilege('{role}', '{database}', 'CONNECT')") == "f"
    assert root(host, "SELECT has_database_privilege('portal', 'portal', 'CONNECT')") == "t"


def test_there_is_no_superuser_over_the_network(host):
    assert root(host, "SELECT rolname FROM pg_roles WHERE rolsuper") == "postgres"
    root(host, f"ALTER ROLE postgres PASSWORD 'postgres-{SECRET}'")
    try:
        for database in ("postgres", "portal"):
            refused(sign_in(host, "postgres", database), "no pg_hba.conf entry")
        refused(sign_in(host, "postgres", way=SOCKET), "Peer authentication failed")
    finally:
        root(host, "ALTER ROLE postgres PASSWORD NULL")


def test_every_rule_is_peer_or_scram_and_every_one_of_the_network_wants_tls(host):
    rules = root(host, "SELECT DISTINCT type, auth_method FROM pg_hba_file_rules ORDER BY 1, 2").split()
    assert rules == ["hostssl|scram-sha-256", "local|peer", "local|scram-sha-256"]
    verifiers = root(host, "SELECT left(rolpassword, 13) FROM pg_authid WHERE rolcanlogin AND NOT rolsuper").split()
    assert verifiers == ["SCRAM-SHA-256"] * 3


# --- what a service may do -------------------------------------------------------------------------------------------


def test_public_may_neither_connect_nor_create(host):
    root(host, "DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN")
    try:
        connect = "SELECT datname FROM pg_database WHERE has_database_privilege('stranger', oid, 'CONNECT') AND datallowconn"
        assert root(host, connect) == ""
        for database in ("portal", "webmail"):
            assert root(host, "SELECT has_schema_privilege('stranger', 'public', 'CREATE')", database) == "f"
            assert root(host, f"SELECT has_schema_privilege('{database}', 'public', 'CREATE')", database) == "t"
    finally:
        root(host, "DROP ROLE stranger")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE DATABASE more",
        "CREATE ROLE more",
        "CREATE SCHEMA more",
        "CREATE EXTENSION hstore",
        "DROP DATABASE webmail",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "SELECT pg_read_file('/etc/passwd')",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "SET ROLE postgres",
    ],
)
def test_a_service_has_no_power_beyond_its_own_schema(host, sql):
    run = sign_in(host, "portal", sql=sql)
    assert run.rc != 0 and re.search("permission denied|must be owner|not allowed", run.stderr), run.stderr


def test_what_was_given_by_hand_was_taken_back(host):
    """By the second run of the role; before it the service owned its database, and could be another."""
    assert root(host, "SELECT datdba::regrole FROM pg_database WHERE datname = 'portal'") == "postgres"
    assert root(host, "SELECT count(*) FROM pg_auth_members WHERE member = 'portal'::regrole") == "0"


def test_a_service_cannot_let_another_in(host):
    run = sign_in(host, "portal", sql="GRANT CONNECT ON DATABASE portal TO webmail; GRANT CONNECT ON DATABASE portal TO PUBLIC")
    assert "no privileges were granted" in run.stderr
    assert root(host, "SELECT has_database_privilege('webmail', 'portal', 'CONNECT')") == "f"


def test_a_service_takes_no_connections_from_the_others(host):
    """webmail may have two."""
    held = f"setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/nonexistent PGPASSWORD=webmail-{SECRET}"
    held += f" psql -XAtq '{NETWORK} user=webmail dbname=webmail' -c 'SELECT pg_sleep(60)' >/dev/null 2>&1 &"
    host.check_output(held * 2)
    asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'webmail'"
    try:
        assert eventually(lambda: root(host, asked) == "2")
        refused(sign_in(host, "webmail"), "too many connections for role")
        assert sign_in(host, "portal").rc == 0
    finally:
        root(host, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'webmail'")
    assert eventually(lambda: sign_in(host, "webmail").rc == 0)


def test_an_extension_is_where_it_was_asked_for(host):
    assert sign_in(host, "portal", sql="SELECT similarity('perron', 'perrons') > 0.5").stdout.strip() == "t"
    refused(sign_in(host, "webmail", sql="SELECT similarity('perron', 'perrons') > 0.5"), "does not exist")


# --- how it runs -----------------------------------------------------------------------------------------------------


def test_memory_is_shared_out_as_the_readme_says(host):
    total = int(re.search(r"MemTotal:\s+(\d+)", host.file("/proc/meminfo").content_string)[1]) // 1024
    share = total * 25 // 100
    wanted = {
        "shared_buffers": share // 4 << 20,
        "effective_cache_size": share * 3 // 4 << 20,
        "work_mem": max(4096, share * 768 // ((62 + 8) * 3)) << 10,
        "maintenance_work_mem": max(64, min(share // 16, 2048)) << 20,
    }
    for name, size in wanted.items():
        shown = root(host, f"SHOW {name}")
        assert int(root(host, f"SELECT pg_size_bytes('{shown}')")) == size, name
    shown = [root(host, f"SHOW {name}") for name in ("max_connections", "random_page_cost", "jit", "wal_compression", "fsync")]
    assert shown == ["62", "1.1", "off", "lz4", "on"]
    assert root(host, "SHOW idle_in_transaction_session_timeout") == "10min"
    assert root(host, "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL") == "0"
    assert root(host, "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_the_cluster_notices_damage_and_sorts_by_itself(host):
    assert root(host, "SHOW data_checksums") == "on"
    sorting = "SELECT DISTINCT datlocprovider, datlocale, pg_encoding_to_char(encoding) FROM pg_database"
    assert root(host, sorting) == "b|C.UTF-8|UTF8"


def test_nothing_but_its_file_configures_it(host):
    run = host.run("runuser -u postgres -- psql -c %s", "ALTER SYSTEM SET work_mem = '1GB'")
    refused(run, "ALTER SYSTEM is not allowed in this environment")
    sources = "SELECT DISTINCT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL"
    assert root(host, sources) == "/etc/postgresql/17/main/postgresql.conf"


@pytest.mark.parametrize("victim", ["postmaster", "backend"])
def test_what_was_committed_survives_a_kill(host, victim):
    row = f"{victim} {time.time()}"
    put, get = (f"{words} '{row}'" for words in ("INSERT INTO kept SELECT", "SELECT a FROM kept WHERE a ="))
    sign_in(host, "portal", sql="CREATE TABLE IF NOT EXISTS kept (a text)")
    assert sign_in(host, "portal", sql=put).rc == 0
    before = host.check_output(f"systemctl show --value -p MainPID {UNIT}")
    # in the same breath: nothing was written but the log
    if victim == "postmaster":
        host.check_output(f"kill -9 {before}")
    else:
        host.check_output("kill -9 $(pgrep -f '^postgres: 17/main: checkpointer')")
    found = eventually(lambda: sign_in(host, "portal", sql=get).stdout.strip())
    assert found == row, host.run(f"journalctl -n 40 -u {UNIT}").stdout
    after = host.check_output(f"systemctl show --value -p MainPID {UNIT}")
    assert (after != before) == (victim == "postmaster")
    sign_in(host, "portal", sql="DROP TABLE kept")


def test_a_dump_restores(host):
    """The commands of docs/postgresql.md."""
    sign_in(host, "portal", sql="CREATE TABLE kept (a text); INSERT INTO kept VALUES ('here')")
    host.check_output("install -d -o postgres -g postgres -m 0700 /var/backups/postgresql")
    host.check_output("runuser -u postgres -- pg_dump --format=custom --file=/var/backups/postgresql/portal.dump portal")
    sign_in(host, "portal", sql="DROP TABLE kept; CREATE TABLE later (a text)")
    host.check_output(
        "runuser -u postgres -- pg_restore --exit-on-error --single-transaction --clean --if-exists"
        " --dbname=portal /var/backups/postgresql/portal.dump"
    )
    run = sign_in(host, "portal", sql="TABLE kept; INSERT INTO kept VALUES ('and usable'); DROP TABLE kept")
    assert run.rc == 0 and run.stdout.strip() == "here", run.stderr
    assert root(host, "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'public'", "portal") == "portal"
    sign_in(host, "portal", sql="DROP TABLE IF EXISTS later")


def test_a_renewed_certificate_is_served_without_a_restart(host):
    hello = "openssl s_client -starttls postgres -connect postgresql.coop.test:5432 </dev/null 2>/dev/null"
    served = f"{hello} | openssl x509 -noout -serial"
    before = host.check_output(served), host.check_output(f"systemctl show --value -p MainPID {UNIT}")
    host.check_output(
        "cd /etc/certificates && openssl req -x509 -key postgresql/privkey.pem -days 3650 -subj /CN=postgresql.coop.test"
        " -CA authority.pem -CAkey authority.key -addext subjectAltName=DNS:postgresql.coop.test"
        " -addext basicConstraints=critical,CA:FALSE -out postgresql/fullchain.pem && run-parts --verbose reload.d"
    )
    assert eventually(lambda: host.check_output(served) != before[0])
    assert host.check_output(f"systemctl show --value -p MainPID {UNIT}") == before[1]
    assert sign_in(host, "portal").rc == 0


def test_the_journal_says_who_failed_and_keeps_secrets(host):
    began = host.check_output("journalctl -n 0 --show-cursor -o cat").rpartition("cursor: ")[2]
    sign_in(host, "portal", password="a-secret-tried-in-vain")
    sign_in(host, "portal", sql="SELECT 'a-letter-of-a-member' FROM nowhere")

    def journal():
        return host.check_output(f"journalctl -u {UNIT} -o cat --after-cursor %s", began)

    assert eventually(lambda: 'password authentication failed for user "portal"' in journal() and "nowhere" in journal()), (
        journal()
    )
    assert "a-secret-tried-in-vain" not in journal() and "a-letter-of-a-member" not in journal()


def test_no_other_port_is_open(host):
    pid = host.check_output(f"systemctl show --value -p MainPID {UNIT}")
    lines = [line.split()[4] for line in host.check_output("ss -Hltunp").splitlines() if f"pid={pid}," in line]
    assert sorted(lines) == ["0.0.0.0:5432", "[::]:5432"]


def test_the_unit_is_hardened(host):
    line = host.check_output(f"systemd-analyze security --no-pager {UNIT} | tail -n 1")
    assert float(line.split(":")[1].split()[0]) <= 2.0, line
    shown = host.check_output(f"systemctl show -p User,NoNewPrivileges,MemoryDenyWriteExecute,ProtectSystem,Restart {UNIT}")
    wanted = ["MemoryDenyWriteExecute=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "Restart=on-failure", "User=postgres"]
    assert sorted(shown.split()) == wanted
    assert host.check_output(f"systemctl is-enabled {UNIT}").startswith("enabled")
    processes = host.check_output("ps -o user= -C postgres").split()
    assert set(processes) == {"postgres"}
