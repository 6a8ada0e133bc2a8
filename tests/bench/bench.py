"""Measure what the project promises of its own speed. No test asserts a time; a figure is compared here by a person.

Each comparison runs both sides in one go on the same machine:
  lab      the lab from nothing, against apt alone installing the same packages in as many fresh containers
  site     the second run of site.yml, against the same run under Ansible's stock configuration
  members  member.yml with 2 000 members, against ldapadd of the same entries; a second run of it; and site.yml with and
           without them
  portal   sign-ins at the portal, against as many verifications of a password alone; and a run of its role that changes nothing
  cloud    200 of 2 000 members sign in at the cloud for the first time, at once; then its sign-in page, uploads and lists of
           files, against the same Nextcloud as Debian's packages run it, without a cache; and a run of its role that
           changes nothing
  webmail  an inbox of 10 000 messages behind the portal, against a plain Roundcube beside it on the same host
"""

from __future__ import annotations

import csv
import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".lab"
HOSTS = ("world", "dyle", "lesse", "meuse")
MEMBERS = 2000
SIGN_INS = 200
FIRST_SIGN_INS = 200
MESSAGES = 10_000  # of a member of some years
PORTAL = "https://auth.coop.test/"
CLOUD = "https://cloud.coop.test/"
WEBMAIL = "https://webmail.coop.test/"


def run(*command: str, quiet: bool = True, given: str | None = None, **environment: str) -> str:
    """Run a command, `given` its input; its output. A failure ends the bench and shows it."""
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    if not quiet:
        print(done.stdout)
    return done.stdout


def seconds(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def median(action: Callable[[], object], times: int = 3) -> float:
    return statistics.median(seconds(action) for _ in range(times))


def compare(what: str, ours: float, theirs: float, against: str, bound: float) -> None:
    print(f"{what}: {ours:.3g} s; {against}: {theirs:.3g} s; ratio {ours / theirs:.2f} (bound {bound})", flush=True)


def packages(container: str) -> set[str]:
    return set(run("bin/podman", "exec", container, "dpkg-query", "-Wf", "${Package}\n").split())


def lab() -> None:
    """Both sides start with an empty apt cache, and both install on four hosts at once."""
    run("bin/lab", "destroy", "--all")
    ours = seconds(lambda: run("bin/lab"))
    wanted = {host: packages(f"perron-{host}") for host in HOSTS}
    run("bin/lab", "destroy")
    run("rm", "-rf", "/var/cache/perron/apt")
    theirs = seconds(lambda: apt_alone(wanted))
    compare("lab from nothing", ours, theirs, "image, apt and the same packages alone", 2.5)


def apt_alone(wanted: dict[str, set[str]]) -> None:
    run("bash", "-c", ". bin/lib.sh; mkdir -p $run $cache; image; apt_cache")
    names = {host: f"perron-bench-{host}" for host in wanted}
    for number, name in enumerate(names.values(), start=30):
        run("bin/container", "host", name, f"10.89.53.{number}", f"fd53:c00b::{number}")
    # Debian's: what the mirror has of other makers, apt alone would not find
    install = (
        "apt-get update -qq && apt-cache pkgnames >/tmp/known"
        " && apt-get install -y -qq --no-install-recommends $(grep -Fxf /tmp/known)"
    )
    running = []
    for host, name in names.items():
        missing = "\n".join(sorted(wanted[host] - packages(name)))
        process = subprocess.Popen(
            ["bin/podman", "exec", "-i", "-e", "DEBIAN_FRONTEND=noninteractive", name, "sh", "-c", install],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdin
        process.stdin.write(missing)
        process.stdin.close()
        running.append(process)
    failed = [process.args for process in running if process.wait()]
    run("bin/podman", "rm", "-f", "-t", "0", *names.values())
    if failed:
        sys.exit(f"apt alone failed: {failed}")


def site() -> None:
    run("bin/lab")
    ours = median(lambda: run("bin/lab", "run", "playbooks/site.yml"))
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as stock:
        # Ansible's own defaults; only where the repository's parts are is said
        ours_is = {"roles_path": "roles", **{name: name for name in ("filter_plugins", "action_plugins", "library")}}
        stock.write("\n".join(["[defaults]", *(f"{name}={ROOT}/{where}" for name, where in ours_is.items())]))
        stock.flush()
        theirs = median(lambda: run("bin/lab", "run", "playbooks/site.yml", ANSIBLE_CONFIG=stock.name))
    print(f"second site.yml: {ours:.1f} s (bound 60 s)")
    compare("second site.yml", ours, theirs, "under Ansible's stock configuration", 0.7)
    mitogen = {"ANSIBLE_STRATEGY": "mitogen_linear", "ANSIBLE_STRATEGY_PLUGINS": str(ROOT / ".config/mitogen")}
    fast = median(lambda: run("bin/lab", "run", "playbooks/site.yml", **mitogen))
    compare("second site.yml with Mitogen", fast, theirs, "under Ansible's stock configuration", 0.3)


def members() -> None:
    """Both sides give the directory the same entries with the same passwords in clear, so both wait for it to hash them."""
    run("bin/lab")
    site = ("bin/lab", "run", "playbooks/site.yml")
    without = median(lambda: run(*site))
    columns = ("login", "mail", "given_name", "family_name", "language", "plan")
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(columns)
        for number in range(MEMBERS):
            writer.writerow((f"bench{number}", f"bench{number}@coop.test", "Bench", f"Number {number}", "fr", "basic"))
        table.flush()
        member = ("bin/lab", "run", "playbooks/member.yml", "-e", f"members_csv={table.name}")
        ours = seconds(lambda: run(*member))
        again = seconds(lambda: unchanged(run(*member)))
    compare(f"site.yml with {MEMBERS} members", median(lambda: unchanged(run(*site))), without, "without", 1.1)
    inside = ("bin/podman", "exec", "-i", "perron-dyle", "sh", "-ec")
    root = "-Q -Y EXTERNAL -H ldapi:///"
    spool = "/var/lib/perron-members/initial-passwords"
    found = run(*inside, f"ldapsearch {root} -LLL -o ldif-wrap=no -b ou=members,dc=coop,dc=test '(uid=bench*)'")
    passwords = dict(line.split("\t") for line in run(*inside, f"cat {spool}").splitlines())
    entries = {}
    for entry in found.strip().split("\n\n"):
        dn, *attributes = [line for line in entry.splitlines() if not line.startswith("userPassword:")]
        name = dn.removeprefix("dn: ")
        entries[name] = "\n".join([dn, *attributes, f"userPassword: {passwords[name]}"])
    names = "".join(f"{name}\n" for name in entries)
    run(*inside, f"ldapdelete {root}; sed -i '/^uid=bench/d' {spool}", given=names)
    theirs = seconds(lambda: run(*inside, f"ldapadd {root}", given="\n\n".join(entries.values())))
    run(*inside, f"ldapdelete {root}", given=names)
    compare(f"member.yml, {len(entries)} members", ours, theirs, "ldapadd of the same entries", 10)
    print(f"member.yml, {len(entries)} members again: {again:.1f} s, nothing changed")


def on(host: str, command: str, given: str = "") -> str:
    return run("bin/podman", "exec", "-i", f"perron-{host}", "sh", "-ec", command, given=given)


def as_member(*arguments: str, secret: str = "") -> list[float]:
    """What tests/bench/member.py measures on world, as the demo member or another."""
    run("bin/podman", "cp", "tests/bench/member.py", "perron-world:/run/member.py")
    secret = secret or (STATE / "demo-password").read_text()
    return [float(line) for line in on("world", f"python3 /run/member.py {' '.join(arguments)}", f"{secret}\n").splitlines()]


def portal() -> None:
    """All of it on the same cores: the browser, the web server, the portal, its database, the directory."""
    run("bin/lab")
    (theirs,) = as_member("sign-in", PORTAL, "demo", str(SIGN_INS))
    # not slappasswd's, a process each: that takes three times as long as what slapd does, and would flatter the portal
    run("bin/podman", "cp", "tests/bench/argon2.py", "perron-dyle:/run/argon2.py")
    parameters = on("dyle", "grep -h '^moduleload argon2' /etc/ldap/slapd.conf").split()[2:]
    alone = float(on("dyle", f"python3 /run/argon2.py {SIGN_INS} {' '.join(parameters)}"))
    print(f"sign-ins at the portal: {SIGN_INS / theirs:.1f}/s; verifications of a password alone: {SIGN_INS / alone:.1f}/s; "
          f"ratio {alone / theirs:.2f} (bound 0.7)", flush=True)  # fmt: skip
    again = median(lambda: unchanged(run("bin/lab", "run", "playbooks/portal.yml")))
    print(f"portal.yml again: {again:.1f} s, nothing changed (bound 5 s)")


def cloud() -> None:
    """Each of them gets an account, a home and the directory's groups there."""
    run("bin/lab")
    login, password = f"bench{secrets.token_hex(2)}x", secrets.token_hex(12)
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as table:
        member = ("bin/lab", "run", "playbooks/member.yml", "-e", f"members_csv={table.name}")

        def each(**values: str) -> None:
            table.seek(0)
            table.truncate()
            rows = [{"login": f"{login}{number}"} | values for number in range(MEMBERS)]
            writer = csv.DictWriter(table, rows[0])
            writer.writeheader()
            writer.writerows(row | ({"mail": f"{row['login']}@coop.test"} if "mail" in row else {}) for row in rows)
            table.flush()

        each(mail="", given_name="Bench", family_name="Member", language="fr", password=password)
        run(*member)
        try:
            took, slowest = as_member("first", CLOUD, login, str(FIRST_SIGN_INS), secret=password)
            standin = on("dyle", "ls -a /var/lib/nextcloud/code/current").count(".stand-in")
            said = f"{FIRST_SIGN_INS} of {MEMBERS} members at the cloud ({'stand-in, not ' if standin else ''}Nextcloud)"
            print(f"{said} for the first time, all at once: {took:.1f} s, the slowest {slowest:.1f} s; none failed", flush=True)
            if standin:
                print("the cloud against a plain Nextcloud: not run: no artefact", flush=True)
            else:
                beside_plain(f"{login}0")
        finally:
            each(state="absent")
            run(*member, "-e", "member_grace=skip")
    again = median(lambda: unchanged(run("bin/lab", "run", "playbooks/nextcloud.yml")))
    print(f"nextcloud.yml again: {again:.1f} s, nothing changed (bound 10 s)", flush=True)


def beside_plain(login: str) -> None:
    """Both have the same code, cores, database server and files; each a program that has a password of its own."""
    script = (ROOT / "tests/bench/cloud.sh").read_text()
    password = secrets.token_hex(16)
    try:
        on("meuse", f"sh -s database {password}", script)
        plain = on("dyle", f"sh -s begin {password}", script).split()[-1]
        ours = on("dyle", f"nextcloud-occ user:auth-tokens:add --no-interaction {login}").split()[-1]
        took = as_member("files", CLOUD, login, CLOUD.replace(".test/", ".test:8443/"), "bench", secret=f"{ours}\n{plain}")
    finally:
        on("dyle", "sh -s end", script)
        on("meuse", "sh -s no_database", script)
    what = (
        ("the cloud's sign-in page", 1 / 2),
        ("PROPFIND of 1 000 files", 1 / 2),
        ("the same, with all that the makers' program for computers asks", 1 / 2),
        ("1 000 uploads of 10 kB, four at a time", 1 / 1.3),
    )
    for (name, bound), one, other in zip(what, took[::2], took[1::2], strict=True):
        compare(name, one, other, "a plain Nextcloud", round(bound, 2))


def webmail() -> None:
    run("bin/lab")
    script = (ROOT / "tests/bench/webmail.sh").read_text()
    try:
        on("lesse", f"sh -s begin {MESSAGES}", script)
        ours, theirs = as_member("inbox", PORTAL, WEBMAIL, WEBMAIL.replace(".test/", ".test:8443/"), "demo@coop.test", "15")
    finally:
        on("lesse", "sh -s end", script)
    compare(f"inbox of {MESSAGES} messages", ours, theirs, "a plain Roundcube", 2)


def unchanged(output: str) -> None:
    if set(re.findall(r"changed=(\d+)", output)) != {"0"}:
        sys.exit(f"the second run changed something:\n{output[-4000:]}")


def main() -> None:
    every = (lab, site, members, portal, cloud, webmail)
    parts: dict[str, Callable[[], None]] = {part.__name__: part for part in every}
    for name in sys.argv[1:] or parts:
        if name not in parts:
            sys.exit(f"unknown part '{name}': one of {' '.join(parts)}")
        parts[name]()


if __name__ == "__main__":
    main()
