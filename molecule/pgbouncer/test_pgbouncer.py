"""What pgbouncer promises, asked of the running daemon by its clients, before a real PostgreSQL."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import eventually

UNIT = "pgbouncer"
SECRET = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "password").read_text().strip()
DIRECT = f"host=postgresql.coop.test sslmode=verify-full sslrootcert=system password=webmail-{SECRET}"
# A client as the portal is one. Each of its statements is prepared on the server from its second execution on
COUNT = r"""
use strict; use warnings; use DBI;
my ($times) = @ARGV;
my %settings = (RaiseError => 1, PrintError => 0, AutoCommit => 0);
my $db = DBI->connect('dbi:Pg:host=/run/pgbouncer;dbname=webmail', 'webmail', '', \%settings);
for (1 .. 3) {
    my $get = $db->prepare('SELECT n FROM counter WHERE id = ? FOR UPDATE');
    my $set = $db->prepare('UPDATE counter SET n = ? WHERE id = ?');
    for (1 .. $times / 3) {
        $get->execute(1);
        my ($n) = $get->fetchrow_array;
        $get->finish;
        $set->execute($n + 1, 1);
        $db->commit;
    }
    # what they were on the server is given back within a transaction, which goes on
    $db->do('SELECT 1');
    undef $get;
    undef $set;
    $db->do('SELECT 1');
    $db->commit;
}
$db->disconnect;
"""
# Which backends answer connections in a row
ROW = r"""
use strict; use warnings; use DBI;
my ($source, $times) = @ARGV;
my %seen;
for (1 .. $times) {
    my $db = DBI->connect("dbi:Pg:$source;dbname=webmail", 'webmail', undef, {RaiseError => 1, PrintError => 0});
    $seen{$db->selectrow_array('SELECT pg_backend_pid()')}++;
    $db->disconnect;
}
print scalar keys %seen;
"""


def act_as(user, command):
    return f"setpriv --reuid {user} --regid nogroup --clear-groups env HOME=/nonexistent {command}"


def ask(host, sql="SELECT 1", user="portal", role="portal", database="portal", settings=""):
    """What a system user gets for it on the socket."""
    source = f"host=/run/pgbouncer dbname={database} user={role} connect_timeout=10"
    return host.run(act_as(user, f"{settings} psql -XAtq %s -c %s"), source, sql)


def answers(host, **who):
    run = ask(host, **who)
    return run.rc == 0 and run.stdout.strip() == "1"


def console(host, command):
    """As docs/postgresql.md says."""
    return host.check_output("runuser -u pgbouncer -- psql -XAtq -h /run/pgbouncer -c %s pgbouncer", command)


def root(host, sql):
    return host.check_output("runuser -u postgres -- psql -XAtq -c %s", sql)


def main_pid(host):
    return host.check_output(f"systemctl show --value -p MainPID {UNIT}")


def refused(run, why):
    assert run.rc != 0 and why in run.stderr, run.stdout + run.stderr
    return True


@pytest.fixture
def journal(host):
    """What the daemon said since the test began."""
    began = host.check_output("journalctl -n 0 --show-cursor -o cat").rpartition("cursor: ")[2]
    return lambda: host.check_output(f"journalctl -u {UNIT} -o cat --after-cursor %s", began)


# --- who comes in ----------------------------------------------------------------------------------------------------


def test_a_service_reaches_its_database_over_tls_without_a_password(host):
    run = ask(host, "SELECT current_user, current_database(), ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert run.stdout.strip() == "portal|portal|t|TLSv1.3", run.stderr
    # of a user that is called otherwise than its role
    run = ask(host, "SELECT current_user, current_database()", "www-data", "webmail", "webmail")
    assert run.stdout.strip() == "webmail|webmail", run.stderr


@pytest.mark.parametrize("user", ["nobody", "root", "www-data"])
def test_another_system_user_is_refused(host, user):
    assert answers(host)
    refused(ask(host, user=user), "unix socket login rejected")
    refused(ask(host, user=user, settings=f"PGPASSWORD='quoted \"and\" back\\slash {SECRET}'"), "unix socket login rejected")


@pytest.mark.parametrize(
    ("role", "database", "why"),
    [
        ("webmail", "webmail", "login rejected"),
        # the same role, but the database of another user
        ("portal", "leaving", "login rejected"),
        ("portal", "webmail", "no authentication method"),
        ("webmail", "portal", "no authentication method"),
        ("portal", "postgres", "no authentication method"),
        ("portal", "pgbouncer", "not allowed"),
        ("pgbouncer", "pgbouncer", "no authentication method"),
    ],
)
def test_a_service_reaches_no_other_database(host, role, database, why):
    assert answers(host)
    refused(ask(host, role=role, database=database), why)


def test_it_listens_on_its_socket_alone(host):
    pid = main_pid(host)
    assert [line for line in host.check_output("ss -Hlunp; ss -Hltnp").splitlines() if f"pid={pid}," in line] == []
    # the look sees what there is
    assert '"postgres"' in host.check_output("ss -Hltnp")
    sockets = [line.split() for line in host.check_output("ss -Hlxp").splitlines() if f"pid={pid}," in line]
    assert [socket[4] for socket in sockets if socket[1] == "LISTEN"] == ["/run/pgbouncer/.s.PGSQL.5432"]


# --- what it does with connections -----------------------------------------------------------------------------------


def test_connections_in_a_row_share_one_to_the_server(host):
    row = act_as("www-data", "perl -e %s %s 50")
    assert host.check_output(row, ROW, "host=/run/pgbouncer") == "1"
    assert host.check_output(row, ROW, DIRECT.replace(" ", ";")) == "50"


def test_clients_that_take_turns_lose_nothing(host):
    """More of them than connections, so that what one prepared is wanted on another."""
    done = ask(
        host, "DROP TABLE IF EXISTS counter; CREATE TABLE counter AS SELECT 1 AS id, 0 AS n", "www-data", "webmail", "webmail"
    )
    assert done.rc == 0, done.stderr
    clients = "for i in 1 2 3 4 5; do " + act_as("www-data", "perl -e %s 60") + ' & clients="$clients $!"; done'
    run = host.run(f'{clients}; for client in $clients; do wait "$client" || exit; done', COUNT)
    assert run.rc == 0, run.stderr
    assert ask(host, "SELECT n FROM counter", "www-data", "webmail", "webmail").stdout.strip() == "300"
    assert int(root(host, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'webmail'")) <= 2


def test_what_libpq_says_of_a_client_is_kept_and_the_next_has_its_own(host):
    settings = "PGCLIENTENCODING=LATIN1 PGTZ=Europe/Brussels PGDATESTYLE=German PGAPPNAME=mine"
    shown = (
        "SELECT string_agg(current_setting(name), '|')"
        " FROM unnest('{client_encoding,timezone,datestyle,application_name}'::text[]) AS name"
    )
    assert ask(host, shown, settings=settings).stdout.strip() == "LATIN1|Europe/Brussels|German, DMY|mine"
    assert ask(host, shown, settings="PGCLIENTENCODING=UTF8").stdout.strip() == "UTF8|UTC|ISO, MDY|psql"


def test_the_console_shows_the_pools(host):
    pools = [line.split("|")[:2] for line in console(host, "SHOW POOLS").splitlines()]
    assert sorted(pools) == [["leaving", "portal"], ["pgbouncer", "pgbouncer"], ["portal", "portal"], ["webmail", "webmail"]]


# --- when the server is not there ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "mend"),
    [
        ("systemctl stop postgresql@17-main", "systemctl start postgresql@17-main"),
        # no answer at all, as of a host without power
        (
            "nft 'table inet gone { chain in { type filter hook input priority 0; tcp dport 5432 drop; }; }'",
            "nft delete table inet gone",
        ),
    ],
    ids=["stopped", "vanished"],
)
def test_a_client_learns_in_seconds_that_the_server_is_gone_and_it_comes_back_by_itself(host, fault, mend):
    assert answers(host)
    host.check_output(fault)
    try:
        # one has a connection that was good, the other none
        began = time.monotonic()
        with ThreadPoolExecutor() as clients:
            assert all(run.rc != 0 for run in clients.map(lambda _: ask(host), range(2)))
        assert time.monotonic() - began < 8
    finally:
        host.check_output(mend)
    connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'portal' AND usename = 'portal'"
    assert eventually(lambda: root(host, connected) != "0", 15)
    # nobody had to fail for that
    assert eventually(lambda: "portal|portal|0|0|0|0|0|0|0|1|" in console(host, "SHOW POOLS"), 5), console(host, "SHOW POOLS")
    assert answers(host)


@pytest.mark.parametrize(
    ("authority", "name", "why"),
    [("stranger", "postgresql.coop.test", "certificate verify failed"), ("authority", "other.coop.test", "name")],
)
def test_a_server_that_cannot_prove_its_name_is_refused(host, journal, authority, name, why):
    def serve(authority, name):
        host.check_output(
            "cd /etc/certificates && openssl req -x509 -key postgresql/privkey.pem -days 3650 -subj /CN=coop.test"
            f" -CA {authority}.pem -CAkey {authority}.key -addext subjectAltName=DNS:{name}"
            " -addext basicConstraints=critical,CA:FALSE -out postgresql/fullchain.pem && systemctl reload postgresql@17-main"
        )

    def meets(authority, name):
        served = "openssl s_client -starttls postgres -connect postgresql.coop.test:5432 </dev/null 2>/dev/null"
        read = host.run(f"{served} | openssl x509 -noout -issuer -ext subjectAltName").stdout
        return f"Scenario {authority}" in read and f"DNS:{name}" in read

    assert answers(host)
    try:
        serve(authority, name)
        assert eventually(lambda: meets(authority, name))
        console(host, "RECONNECT")
        assert eventually(lambda: why in journal(), 10), journal()
        assert ask(host).rc != 0
    finally:
        serve("authority", "postgresql.coop.test")
    assert eventually(lambda: meets("authority", "postgresql.coop.test"))
    assert eventually(lambda: answers(host), 15)


# --- how it runs -----------------------------------------------------------------------------------------------------


def test_a_database_that_leaves_the_list_is_gone_and_nobody_else_is_cut(host, play):
    def apply(*without):
        variables = {"molecule_password": SECRET, "scenario_without": without}
        done = play("molecule/pgbouncer/shorter.yml", "--tags", "pgbouncer_configure", groups=["pgbouncer"], variables=variables)
        assert done.returncode == 0, done.stdout + done.stderr

    leaving = {"user": "www-data", "role": "portal", "database": "leaving"}
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE "
    assert answers(host, **leaving)
    before = main_pid(host)
    # begins before the change and ends after it
    transaction = "BEGIN; SELECT 1;\n\\! until [ -e /run/changed ]; do sleep 0.1; done\nCOMMIT; SELECT 'it went on';"
    host.check_output(
        "systemd-run --unit transaction -p User=portal sh -c %s sh %s",
        'echo "$1" | psql -XAtq -v ON_ERROR_STOP=1 "host=/run/pgbouncer dbname=portal user=portal"',
        transaction,
    )
    try:
        assert eventually(lambda: root(host, sessions + "datname = 'portal' AND state = 'idle in transaction'") == "1", 10)
        apply("leaving")
        refused(ask(host, **leaving), "no authentication method")
        assert eventually(lambda: root(host, sessions + "datname = 'leaving'") == "0", 10)
        assert main_pid(host) == before and answers(host)
        host.check_output("touch /run/changed")
        said = "journalctl -u transaction -o cat"
        assert eventually(lambda: "it went on" in host.check_output(said), 10), host.check_output(said)
        # with the last one the daemon goes
        apply("leaving", "portal", "webmail")
        assert host.run(f"systemctl is-active {UNIT}").stdout.strip() == "inactive"
        assert host.run(f"systemctl is-enabled {UNIT}").stdout.strip() == "disabled"
        assert SECRET not in host.check_output("cat /etc/pgbouncer/*")
    finally:
        host.run("touch /run/changed; systemctl stop transaction; systemctl reset-failed transaction; rm /run/changed")
        apply()
    assert answers(host) and answers(host, **leaving)
    assert host.check_output(f"systemctl is-enabled {UNIT}") == "enabled"


def test_passwords_are_the_daemons_and_the_journal_has_none(host):
    holding = host.run("grep -lrF %s /etc/pgbouncer", SECRET).stdout.split()
    assert holding == ["/etc/pgbouncer/userlist.txt"]
    for path in ("pgbouncer.ini", "userlist.txt", "ident.conf", "hba.conf"):
        assert host.check_output("stat -c '%%U %%G %%a' %s", f"/etc/pgbouncer/{path}") == "root pgbouncer 640"
    assert "Permission denied" in host.run(act_as("portal", "cat /etc/pgbouncer/userlist.txt")).stderr
    words = host.check_output(f"journalctl -u {UNIT} -o cat")
    assert "unix socket login rejected" in words and SECRET not in words


def test_the_unit_is_hardened(host):
    line = host.check_output(f"systemd-analyze security --no-pager {UNIT} | tail -n 1")
    assert float(line.split(":")[1].split()[0]) <= 2.0, line
    shown = host.check_output(
        f"systemctl show -p User,Type,NoNewPrivileges,MemoryDenyWriteExecute,ProtectSystem,Restart,ConditionResult {UNIT}"
    )
    wanted = ["ConditionResult=yes", "MemoryDenyWriteExecute=yes", "NoNewPrivileges=yes", "ProtectSystem=strict"]
    assert sorted(shown.split()) == [*wanted, "Restart=on-failure", "Type=notify-reload", "User=pgbouncer"]
    assert host.check_output("ps -o user= -C pgbouncer").split() == ["pgbouncer"]


def test_it_is_there_again_after_a_kill_and_never_without_its_configuration(host):
    before = main_pid(host)
    host.check_output(f"kill -9 {before}")
    assert eventually(lambda: answers(host), 10) and main_pid(host) != before
    host.check_output(f"mv /etc/pgbouncer/hba.conf /etc/pgbouncer/away && systemctl restart {UNIT}")
    try:
        assert host.run(f"systemctl is-active {UNIT}").stdout.strip() == "inactive"
        refused(ask(host), "No such file or directory")
    finally:
        host.check_output(f"mv /etc/pgbouncer/away /etc/pgbouncer/hba.conf && systemctl restart {UNIT}")
    assert eventually(lambda: answers(host), 10)
