"""Members: from a CSV or a variable, by way of what the directory holds, to the entries it should hold.

    rows: "{{ text | members_from_csv('members.csv') }}"           # {rows: [...], problems: [...]}
    rows: "{{ member | members_from_variable }}"                    # the same, of -e '{"member": {...}}'
    plan: "{{ rows | members_plan(current, rules, suffix) }}"       # {problems, entries, signed_out, leaving, removals, ...}

Pure functions: nothing is read and nothing is written here. Every problem is found before the first write, and says
where it is and what to do. A column that is not there leaves the directory as it is; an empty cell means the default.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from string import Template
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]
Entry = dict[str, Any]
Rules = Mapping[str, Any]

# column: what it is. `docs/members.md` explains them; the unit tests compare the two
COLUMNS = (
    "login",
    "mail",
    "given_name",
    "family_name",
    "language",
    "plan",
    "quota_gib",
    "aliases",
    "groups",
    "linked_to",
    "contact",
    "password",
    "state",
)
LISTS = ("aliases", "groups")
STATES = ("present", "suspended", "absent")
LOGIN = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*")
LOCAL_PART = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
# Of an address elsewhere: enough to catch what cannot be one
ELSEWHERE = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}")
GIB = 2**30
LOGIN_LENGTH = (2, 32)


def login_parts(login: str) -> list[str]:
    """What of a login no password may contain: the directory's own rule (ppm, checkRDN) is of words of three letters or more."""
    return [login, *(part for part in re.split(r"[ ,;_@-]", login) if len(part) >= 3)]


def service_entries(services: Iterable[Mapping[str, Any]], suffix: str) -> list[Entry]:
    """The accounts of `directory_services`."""
    return [
        {
            "dn": f"cn={service['name']},ou=services,{suffix}",
            "attributes": {
                "objectClass": ["organizationalRole", "simpleSecurityObject"],
                "cn": [service["name"]],
                "pwdPolicySubentry": [f"cn=services,ou=policies,{suffix}"],
            },
            "password_mode": "exact",
            "password": service["password"],
        }
        for service in services
    ]


def alias_entries(aliases: Iterable[Mapping[str, Any]], suffix: str) -> list[Entry]:
    """The addresses of `directory_aliases`."""
    return [
        {
            "dn": f"mail={alias['mail']},ou=aliases,{suffix}",
            "attributes": {"objectClass": ["perronAlias"], "mail": [alias["mail"]], "mailTarget": alias["targets"]},
        }
        for alias in aliases
    ]


def role_aliases(names: Iterable[str], domains: Iterable[str], readers: Sequence[str]) -> list[dict[str, Any]]:
    """postmaster@ and its like in every domain, as `directory_aliases`; none where nobody reads them."""
    return [{"mail": f"{name}@{domain}", "targets": readers} for domain in domains for name in names] if readers else []


def members_from_csv(text: str, name: str = "CSV") -> dict[str, list[Any]]:
    """Rows of a CSV with a header, and what is wrong with its form. Separator: comma, semicolon or tab."""
    text = text.removeprefix("\ufeff")
    header = next(filter(str.strip, text.split("\n")), "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    rows: list[Row] = []
    problems: list[str] = []
    began = 1
    try:
        for cells in reader:
            where = f"{name} line {began}"
            began = reader.line_num + 1
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            # what spreadsheets write of columns that once held something
            while len(cells) > len(columns or [""]) and not cells[-1]:
                cells.pop()
            if not columns:
                columns = [cell.lower() for cell in cells]
                if wrong := _header_problems(columns, where):
                    return {"rows": [], "problems": wrong}
            elif len(cells) != len(columns):
                what = "a tab" if delimiter == "\t" else f"'{delimiter}'"
                problems.append(
                    f"{where}: {len(cells)} cells under {len(columns)} columns; put a cell that holds "
                    f"{what} between double quotes, and let an empty cell be empty"
                )
            else:
                rows.append({"where": where, **dict(zip(columns, cells, strict=True))})
    except csv.Error as error:
        problems.append(f"{name} line {began}: {error}; close or double the double quotes of this line")
    if not columns and not problems:
        problems.append(f"{name}: no line in it; its first line names the columns: {', '.join(COLUMNS)}")
    for row in rows:
        for column in LISTS:
            if column in row:
                row[column] = row[column].split()
        if any("\udc80" <= character <= "\udcff" or character == "\ufffd" for value in row.values() for character in value):
            problems.append(f"{row['where']}: letters that are not UTF-8; save the file as 'CSV UTF-8'")
    return {"rows": rows, "problems": problems}


def _header_problems(columns: Sequence[str], where: str) -> list[str]:
    problems = [_unknown(f"{where}: column", column, COLUMNS) for column in columns if column not in COLUMNS]
    problems += [f"{where}: column '{c}' is there twice; keep one" for c in dict.fromkeys(columns) if columns.count(c) > 1]
    if "login" not in columns:
        problems.append(f"{where}: no column 'login'; the first line names the columns: {', '.join(COLUMNS)}")
    return problems


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(word, known, n=1)
    return f"{what} '{word}' is unknown; " + (f"did you mean '{near[0]}'?" if near else f"use one of {', '.join(known)}")


def members_from_variable(member: object, name: str = "member") -> dict[str, list[Any]]:
    """The same of one member given as a variable. Lists may be lists, or words with spaces as in a CSV."""
    if not isinstance(member, Mapping):
        return {"rows": [], "problems": [f"""{name}: not a mapping; write -e '{{"member": {{"login": "alice", ...}}}}'"""]}
    problems = [_unknown(f"{name}:", str(key), COLUMNS) for key in member if key not in COLUMNS]
    if "login" not in member:
        problems.append(f"{name}: no login; give the sign-in name")
    if problems:
        return {"rows": [], "problems": problems}
    row: Row = {"where": name}
    for key, value in member.items():
        if key in LISTS:
            words = value.split() if isinstance(value, str) else (value or [])
            row[str(key)] = [str(word).strip() for word in words]
        else:
            row[str(key)] = "" if value is None else str(value).strip()
    return {"rows": [row], "problems": []}


def members_plan(
    given: Mapping[str, Any],
    current: Iterable[Mapping[str, Any]],
    rules: Rules,
    suffix: str,
    resend: bool = False,
    rename: bool = False,
    skip_grace: bool = False,
    purge: bool = False,
    pending: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What the directory's entries should become, or every reason why not.

    `current`: entries of the tree as community.general.ldap_search returns them. `rules`: domains (the cooperative's own
    first), languages, plans {name: {quota_gib}}, default_plan, groups, reserved, reserved_everywhere,
    password_min_length, grace_days, today (YYYY-MM-DD). `resend`: give those listed a new initial password. `rename`: a
    member may get another first address; else a login that exists with another address is taken. `skip_grace`: who is
    made absent is removed now. `purge`: so is everybody whose grace is over. `pending`: the removals of an earlier run
    that may not be complete, as this returned them.

    Besides `problems` and `entries`: `signed_out`, whose sessions end ({login, addresses}); `leaving`, what receipts say
    of who is in the grace period after this run, and `begun`, the logins of those who were not before; `back`, logins who
    came back; `removed`, logins whose entries go; `removals`, these and the pending ones, whose mailboxes have to go;
    `kept`, why who is due, or was to be made absent, is not removed.
    """
    plan = _Plan([_lists(entry) for entry in current], rules, suffix, resend, rename, skip_grace, pending)
    plan.problems += given["problems"]
    plan.read([*given["rows"], *(plan.due() if purge else [])])
    return plan.result()


def local_day(moment: datetime, timezone: str) -> str:
    """The day (YYYY-MM-DD) it is there at that moment, which is UTC unless it says otherwise."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(ZoneInfo(str(timezone))).date().isoformat()


def _line(problem: str) -> int:
    found = re.search(r" line (\d+)", problem)
    return int(found[1]) if found else 0


def _lists(entry: Mapping[str, Any]) -> Entry:
    return {
        str(name): [str(v) for v in value] if isinstance(value, Sequence) and not isinstance(value, str) else [str(value)]
        for name, value in entry.items()
        if name != "dn"
    } | {"dn": str(entry["dn"])}


def _login(dn: str) -> str:
    return dn.split(",", 1)[0].removeprefix("uid=")


def _untagged(address: str) -> str:
    """The address in whose mailbox mail to name+tag@domain is, in lower case."""
    local, at, domain = address.lower().rpartition("@")
    return local.partition("+")[0] + at + domain


class _Plan:
    def __init__(
        self,
        current: Sequence[Entry],
        rules: Rules,
        suffix: str,
        resend: bool,
        rename: bool,
        skip_grace: bool,
        pending: Iterable[Mapping[str, Any]],
    ) -> None:
        self.rules, self.suffix, self.resend, self.rename, self.skip_grace = rules, suffix, resend, rename, skip_grace
        self.members: dict[str, Entry] = {}
        self.devices: dict[str, list[str]] = {}  # dn of a member -> those of the devices that have a password of their own
        self.groups: dict[str, list[str]] = {}
        # address -> who has it: a login, or the name of an entry that is no member's
        self.owners: dict[str, str] = {}
        self.reads: dict[str, list[str]] = {}  # address -> those of the house whose mail goes there
        for entry in current:
            parent = entry["dn"].split(",", 1)[-1].lower()
            if parent == f"ou=groups,{suffix}".lower():
                self.groups[entry["cn"][0]] = entry.get("member", [])
                continue
            if "deviceOwner" in entry:
                self.devices.setdefault(entry["deviceOwner"][0].lower(), []).append(entry["dn"])
                continue
            owner = entry["dn"]
            if parent == f"ou=members,{suffix}".lower():
                owner = entry["uid"][0]
                self.members[owner] = entry
            for address in entry.get("mail", []) + entry.get("mailAlias", []):
                self.owners[address.lower()] = owner
            for target in entry.get("mailTarget", []):
                self.reads.setdefault(_untagged(target), []).extend(entry["mail"])
        # a run was stopped after it had removed their entries
        self.pending = {str(removal["login"]): dict(removal) for removal in pending if removal["login"] not in self.members}
        self.kept: list[str] = []
        self.reserved_everywhere = {str(word).lower() for word in rules["reserved_everywhere"]}
        self.reserved = self.reserved_everywhere | {str(word).lower() for word in rules["reserved"]}
        self.rows: dict[str, Row] = {}
        self.dependents: dict[str, list[str]] = {}  # login -> who is linked to it
        self.claims: dict[str, str] = {}  # address -> where in this input
        self.problems: list[str] = []

    # what is wrong

    def problem(self, row: Row, column: str, message: str) -> None:
        self.problems.append(f"{row['where']}, {column}: {message}")

    def read(self, rows: Sequence[Row]) -> None:
        for row in rows:
            login = row["login"]
            if login in self.rows:
                self.problem(row, "login", f"'{login}' is already on {self.rows[login]['where']}; keep one of the two")
            else:
                self.rows[login] = row
        for login in sorted({*self.members, *self.rows}):
            self.dependents.setdefault(self.main_of(login), []).append(login)
        for row in self.rows.values():
            self.check(row)
        for row in self.rows.values():
            if row.get("contact") and row.get("state") != "absent":
                self.check_contact(row)
            self.check_link(row)
            self.check_dependents(row)
            self.check_reads(row)

    def due(self) -> list[Row]:
        """Rows that remove everybody whose grace is over, but for who reads mail of the house, and whose linked accounts stay."""
        over = {login for login in self.members if self.until(login) and self.until(login) < self.rules["today"]}
        for login in sorted(over):
            if said := self.unread(self.addresses(login)):
                self.kept.append(f"{login} is kept: {said}")
                over.remove(login)
        linked = {login: self.main_of(login) for login in self.members}
        for login in sorted(over):
            if left := [other for other, main in linked.items() if main == login and other not in over]:
                self.kept.append(f"{login} is kept for {', '.join(left)}, who can come back and is linked to it")
                over.remove(login)
        return [{"where": "member_purge", "login": login, "state": "absent"} for login in sorted(over)]

    def until(self, login: str) -> str:
        """Until when a member who leaves can come back; nothing for one who does not leave."""
        return str(self.members.get(login, {}).get("memberUntil", [""])[0])

    def addresses(self, login: str) -> list[str]:
        member = self.members[login]
        return [*member["mail"], *member.get("mailAlias", [])]

    def unread(self, gone: Iterable[str]) -> str:
        """Which of the house's addresses nobody would read for these that go, and the mend; nothing if all stay read."""
        found = {address: self.reads[address] for address in map(str.lower, gone) if address in self.reads}
        if not found:
            return ""
        houses = list(dict.fromkeys(house for those in found.values() for house in those))
        roles = [house.partition("@")[0].lower() in self.reserved_everywhere for house in houses]
        places = ["coop_role_readers"] * any(roles) + ["coop_aliases"] * (not all(roles))
        more = [f"{len(houses) - 3} more"] * (len(houses) > 3)
        return (
            f"mail to {', '.join(houses[:3] + more)} goes to {', '.join(found)}, which nobody would have then; "
            f"name another address in {' and '.join(places)} and run playbooks/directory.yml first"
        )

    def removed(self, login: str) -> bool:
        """Whether the entry goes in this run."""
        row = self.rows.get(login, {})
        return row.get("state") == "absent" and login in self.members and (self.skip_grace or row["where"] == "member_purge")

    def state(self, login: str) -> str:
        """What the member will be: present, suspended or absent, which who is in the grace period is already."""
        row = self.rows.get(login, {})
        if "state" in row:
            return str(row["state"] or "present")
        member = self.members.get(login)
        if member is None:
            return "present" if row else "absent"
        if self.until(login):
            return "absent"
        return "suspended" if member.get("memberStatus") == ["suspended"] else "present"

    def check(self, row: Row) -> None:
        login, new = row["login"], row["login"] not in self.members
        state = self.state(login)
        if state not in STATES:
            self.problem(row, "state", f"'{state}' is unknown; use one of {', '.join(STATES)}")
        if row.get("state") == "absent":
            if new and login not in self.pending:
                self.check_spelling(row, login)
            return
        if new:
            self.check_login(row, login)
            if login in self.pending:
                self.problem(row, "login", f"mail of a former '{login}' waits to be removed; run -e member_purge=true first")
            for column in ("mail", "given_name", "family_name"):
                if column not in row:
                    self.problem(row, column, f"'{login}' is new and has none; give one")
        elif not self.rename and row.get("mail", (had := self.members[login]["mail"][0])) != had:
            self.problem(
                row,
                "mail",
                f"'{login}' is taken by {had}; choose another login, "
                "or if it is the same member with a new address, add -e member_rename=true",
            )
        self.check_addresses(row)
        for column, shortest in (("given_name", 0), ("family_name", 1)):
            value = row.get(column, "-")
            if not shortest <= len(value) <= 100 or not value.isprintable():
                self.problem(row, column, f"write {shortest} to 100 printable characters")
        if row.get("language") and row["language"] not in self.rules["languages"]:
            self.problem(row, "language", _unknown("", row["language"], self.rules["languages"]).strip())
        if row.get("plan") and row["plan"] not in self.rules["plans"]:
            self.problem(row, "plan", _unknown("", row["plan"], self.rules["plans"]).strip())
        if row.get("quota_gib"):
            self.check_quota(row)
        elif not row.get("plan") and (new or "plan" in row or "quota_gib" in row):
            whose = self.main_of(login) if new or "plan" in row else login
            for plan in self.members.get(whose, {}).get("memberPlan", []):
                if plan not in self.rules["plans"] and not self.rows.get(whose, {}).get("plan"):
                    self.problem(row, "plan", f"'{plan}', which {whose} has, is no more in coop_plans; give another")
        for group in row.get("groups", []):
            if group not in self.rules["groups"]:
                self.problem(row, "groups", _unknown("", group, self.rules["groups"]).strip())
        if row.get("password") and new:
            self.check_password(row)

    def check_login(self, row: Row, login: str) -> None:
        shortest, longest = LOGIN_LENGTH
        if not LOGIN.fullmatch(login) or not shortest <= len(login) <= longest:
            self.problem(
                row,
                "login",
                f"'{login}' is malformed; write {shortest} to {longest} of a-z and 0-9, a letter first, "
                "with single '.', '_' or '-' between",
            )
        elif login in self.reserved:
            self.problem(row, "login", f"'{login}' is reserved; choose another")

    def check_spelling(self, row: Row, login: str) -> None:
        """Who is to go and is not there may have gone already, or is a slip."""
        if not LOGIN.fullmatch(login):
            self.problem(row, "login", f"'{login}' is no login; write that of the member who leaves, as it is in the directory")
        else:
            near = get_close_matches(login, self.members, n=1)
            self.kept.append(
                f"{row['where']}: '{login}' is no member, so nothing is done" + (f"; did you mean '{near[0]}'?" if near else "")
            )

    def check_addresses(self, row: Row) -> None:
        addresses = [("mail", row["mail"])] if "mail" in row else []
        addresses += [("aliases", address) for address in row.get("aliases", [])]
        for column, address in addresses:
            local, _, domain = address.rpartition("@")
            if not LOCAL_PART.fullmatch(local) or len(local) > 64:
                self.problem(
                    row,
                    column,
                    f"'{address}' is malformed; write name@domain in lower case, the name of a-z and 0-9 "
                    "with single '.', '_' or '-' between",
                )
            elif domain not in self.rules["domains"]:
                self.problem(row, column, f"'{address}': {_unknown('domain', domain, self.rules['domains'])}")
            elif local in (self.reserved if domain == self.rules["domains"][0] else self.reserved_everywhere):
                self.problem(row, column, f"'{address}' is reserved; choose another")
            elif address in self.claims:
                self.problem(row, column, f"'{address}' is already on {self.claims[address]}; keep one of the two")
            elif self.taken(address, row["login"]):
                until = self.until(self.owners[address])
                back = f", who can come back until {until}" if until else ""
                self.problem(row, column, f"'{address}' is taken by {self.owners[address]}{back}; choose another")
            self.claims.setdefault(address, row["where"])

    def taken(self, address: str, login: str) -> bool:
        """Whether it is another's, whose entry does not go in this very run."""
        owner = self.owners.get(address, login)
        return owner != login and not self.removed(owner)

    def check_quota(self, row: Row) -> None:
        try:
            quota = Decimal(row["quota_gib"])
            right = Decimal("0.1") <= quota <= 10240
        except InvalidOperation:
            right = False
        if not right:
            self.problem(
                row, "quota_gib", f"'{row['quota_gib']}' is no size; write GiB as a number from 0.1 to 10240, such as 5 or 2.5"
            )

    def check_contact(self, row: Row) -> None:
        contact = _untagged(row["contact"])
        owner = self.owners.get(contact, "")
        here = contact.rpartition("@")[2] in self.rules["domains"]

        def own(address: str) -> bool:
            return address in (row.get("mail"), *row.get("aliases", [])) or self.owners.get(address) == row["login"]

        # of an address of the house, where its mail goes
        targets = [target for target, houses in self.reads.items() if here and contact in map(str.lower, houses)]
        if not ELSEWHERE.fullmatch(row["contact"]):
            self.problem(row, "contact", f"'{row['contact']}' is no address; write one, or leave it empty")
        elif own(contact) or (targets and all(map(own, targets))):
            self.problem(row, "contact", f"'{row['contact']}' is the member's own; give one they can read before they sign in")
        elif here and contact not in self.claims and (not owner or self.removed(owner)):  # a catch-all may lead to the member
            self.problem(row, "contact", f"'{row['contact']}' is nobody's here; give one they can read before they sign in")

    def check_password(self, row: Row) -> None:
        shortest = self.rules["password_min_length"]
        if len(row["password"]) < shortest or not row["password"].isprintable():
            self.problem(row, "password", f"write at least {shortest} printable characters, or leave it empty for a random one")
        elif part := next((part for part in login_parts(row["login"]) if part in row["password"].lower()), None):
            self.problem(
                row, "password", f"it contains '{part}' of the login; choose another, or leave it empty for a random one"
            )

    def main_of(self, login: str) -> str:
        row = self.rows.get(login, {})
        if "linked_to" in row:
            return str(row["linked_to"])
        dn: str = self.members.get(login, {}).get("memberMain", [""])[0]
        return _login(dn)

    def check_link(self, row: Row) -> None:
        login = row["login"]
        main = row.get("linked_to", self.main_of(login) if self.until(login) else "")
        if not main or self.state(login) == "absent":
            return
        if main == login:
            self.problem(row, "linked_to", "an account is not linked to itself; leave it empty")
        elif main not in self.members and main not in self.rows:
            self.problem(row, "linked_to", f"'{main}' is neither a member nor in this input; write the login of the main account")
        elif self.state(main) == "absent":
            self.problem(row, "linked_to", f"'{main}' does not stay; link to an account that does")
        elif self.main_of(main):
            self.problem(row, "linked_to", f"'{main}' is itself linked to '{self.main_of(main)}'; link to that one")

    def check_dependents(self, row: Row) -> None:
        """Nobody stays linked to whoever leaves or becomes a linked account."""
        login = row["login"]
        leaves = self.state(login) == "absent"
        if not leaves and not row.get("linked_to"):
            return
        left = [
            other
            for other in self.dependents.get(login, [])
            if self.state(other) != "absent" and "linked_to" not in self.rows.get(other, {})  # check_link has said it
        ]
        if left:
            self.problem(
                row,
                "state" if leaves else "linked_to",
                f"{', '.join(left)} would stay linked to '{login}'; make them absent, or give them another linked_to or none",
            )

    def check_reads(self, row: Row) -> None:
        """Mail to an address of the house that leads to nobody would be accepted, and then come back to whoever is its sender."""
        login = row["login"]
        gone: dict[str, list[str]] = {}
        if self.removed(login):
            gone["state"] = self.addresses(login)
        elif login in self.members and row.get("state") != "absent":
            if "mail" in row and self.rename:
                gone["mail"] = self.members[login]["mail"]
            if "aliases" in row:
                gone["aliases"] = self.members[login].get("mailAlias", [])
        for column, addresses in gone.items():
            if said := self.unread(address for address in addresses if address.lower() not in self.claims):
                self.problem(row, column, said + (", or keep it as an alias" if column != "state" else ""))

    # what to do

    def dn(self, login: str) -> str:
        return f"uid={login},ou=members,{self.suffix}"

    def entry(self, row: Row) -> Entry:
        login = row["login"]
        before = self.members.get(login)
        attributes: dict[str, list[str]] = {}
        if before is None:
            attributes |= {"objectClass": ["inetOrgPerson", "perronMember"], "uid": [login]}
        if "mail" in row:
            attributes["mail"] = [row["mail"]]
        if "given_name" in row or "family_name" in row:
            given = row.get("given_name", (before or {}).get("givenName", [""])[0])
            family = row.get("family_name", (before or {}).get("sn", [""])[0])
            attributes |= {"givenName": [given] if given else [], "sn": [family], "cn": [f"{given} {family}".strip()]}
        if "aliases" in row:
            attributes["mailAlias"] = row["aliases"]
        if before is None or "language" in row:
            attributes["preferredLanguage"] = [row.get("language") or self.rules["languages"][0]]
        if before is None or "plan" in row or "quota_gib" in row:
            plan = self.plan_of(login)
            attributes["memberPlan"] = [plan]
            attributes["memberQuota"] = [str(self.quota(row, plan))]
        if before is None or "state" in row:
            attributes["memberStatus"] = ["suspended" if self.state(login) == "suspended" else "active"]
            if self.until(login):
                attributes["memberUntil"] = []
        if "linked_to" in row:
            attributes["memberMain"] = [self.dn(row["linked_to"])] if row["linked_to"] else []
        if "contact" in row:
            attributes["contactAddress"] = [row["contact"]] if row["contact"] else []
        entry: Entry = {"dn": self.dn(login), "attributes": attributes}
        if before is None:
            entry |= {"password_mode": "initial"}
            if row.get("password"):
                entry["password"] = row["password"]
        elif self.resend:
            entry |= {"password_mode": "reset"}
        return entry

    def plan_of(self, login: str) -> str:
        """The plan given, else the one had, else the main account's, else the default."""
        row, before = self.rows.get(login, {}), self.members.get(login)
        if row.get("plan"):
            return str(row["plan"])
        if before and "plan" not in row:
            return str(before["memberPlan"][0])
        main = self.main_of(login)
        return self.plan_of(main) if main else str(self.rules["default_plan"])

    def quota(self, row: Row, plan: str) -> int:
        if row.get("quota_gib"):
            return int(Decimal(row["quota_gib"]) * GIB)
        before = self.members.get(row["login"])
        if before and "quota_gib" not in row and before["memberPlan"] == [plan]:
            return int(before["memberQuota"][0])
        # a plan that is none is among the problems
        return int(Decimal(str(self.rules["plans"].get(plan, {"quota_gib": 0})["quota_gib"])) * GIB)

    def group_entries(self, leaving: set[str]) -> tuple[list[Entry], list[Entry]]:
        """The groups that somebody leaves, before anybody comes; and all groups as they become."""
        wanted = {name: dict.fromkeys(members) for name, members in self.groups.items()}
        for login, row in self.rows.items():
            if row.get("state") == "absent" and login not in leaving:  # they keep theirs, in case they come back
                continue
            for group in row.get("groups", []) if login not in leaving else []:
                wanted.setdefault(group, {})[self.dn(login)] = None
            for group, members in wanted.items():
                if login in leaving or ("groups" in row and group not in row["groups"]):
                    members.pop(self.dn(login), None)
        left = {name: [dn for dn in members if dn in wanted[name]] for name, members in self.groups.items()}
        left = {name: members for name, members in left.items() if len(members) < len(self.groups[name])}
        return list(map(self.group, left, left.values())), [self.group(name, list(wanted[name])) for name in wanted]

    def group(self, name: str, members: list[str]) -> Entry:
        dn = f"cn={name},ou=groups,{self.suffix}"
        if not members:  # LDAP knows no empty group
            return {"dn": dn, "state": "absent"}
        return {"dn": dn, "attributes": {"objectClass": ["groupOfNames"], "cn": [name], "member": members}}

    def last_day(self) -> str:
        return (date.fromisoformat(self.rules["today"]) + timedelta(days=int(self.rules["grace_days"]))).isoformat()

    def leaver(self, login: str, until: str = "") -> dict[str, str]:
        """What a receipt says of a member."""
        member = self.members[login]
        facts = {"login": login, "mail": member["mail"][0], "name": member["cn"][0], "until": until}
        return facts | {"language": member["preferredLanguage"][0], "contact": member.get("contactAddress", [""])[0]}

    def result(self) -> dict[str, Any]:
        nothing = ("entries", "signed_out", "leaving", "begun", "back", "removed", "removals", "kept")
        if self.problems:
            return {"problems": sorted(self.problems, key=_line), **{name: [] for name in nothing}}
        removed = [login for login in self.rows if self.removed(login)]
        absent = {login for login in self.rows if self.rows[login].get("state") == "absent"}
        begun = [login for login in self.rows if login in absent and login in self.members and login not in removed]
        begun = [login for login in begun if not self.until(login)]
        left, groups = self.group_entries(set(removed))
        # Who goes goes first, as another may have their address from now on, and leaves the groups before, or slapd
        # would see to that meanwhile; who joins a group is there before it
        gone = [dn for login in removed for dn in (*self.devices.get(self.dn(login).lower(), []), self.dn(login))]
        grace = {"memberStatus": ["suspended"], "memberUntil": [self.last_day()]} if begun else {}
        # a device signs in with its member's first address
        moved = [
            {"dn": dn, "attributes": {"deviceAddress": [row["mail"]]}}
            for login, row in self.rows.items()
            if login not in absent and "mail" in row
            for dn in self.devices.get(self.dn(login).lower(), [])
        ]
        stay = [row for login, row in self.rows.items() if login not in absent]
        stay.sort(key=lambda row: bool(self.main_of(row["login"])))
        before = self.members
        leaving = {login: self.until(login) for login in before if self.until(login) and self.state(login) == "absent"}
        leaving = {login: until for login, until in leaving.items() if login not in removed} | dict.fromkeys(
            begun, self.last_day()
        )
        return {
            "problems": [],
            "entries": [
                *left,
                *({"dn": dn, "state": "absent"} for dn in gone),
                *({"dn": self.dn(login), "attributes": grace} for login in begun),
                *map(self.entry, stay),
                *moved,
                *groups,
            ],
            "signed_out": [
                {"login": login, "addresses": sorted({*before.get(login, {}).get("mail", []), *filter(None, [row.get("mail")])})}
                for login, row in sorted(self.rows.items())
                if self.state(login) != "present"
            ],
            "leaving": list(map(self.leaver, leaving, leaving.values())),
            "begun": begun,
            "back": [login for login in self.rows if self.until(login) and self.state(login) != "absent"],
            "removed": removed,
            "removals": [*self.pending.values(), *map(self.leaver, removed)],
            "kept": self.kept,
        }


def welcome_messages(
    spool: str, current: Iterable[Mapping[str, Any]], templates: Mapping[str, str], sender: str, by_mail: bool
) -> dict[str, Any]:
    """The welcome messages that the spool's lines (dn<TAB>password, the last of a dn counts) ask for.

    `templates`: by language, see `_template`; `by_mail`: whether there is a mail host at all. Returns `messages`
    ({id, sender, recipient, subject, body}); `unreachable`, logins whose random password nobody can be sent; `spool`, the
    lines that still wait for something.
    """
    waiting = dict(line.split("\t", 1) for line in spool.splitlines() if "\t" in line)
    members = {entry["dn"].lower(): entry for entry in map(_lists, current)}
    messages, unreachable, left = [], [], {}
    for dn, password in waiting.items():
        member = members.get(dn.lower(), {})
        if member.get("memberUntil"):  # they leave: it waits for their return
            left[dn] = password
        elif by_mail and member.get("contactAddress"):
            left[dn] = password
            language = member["preferredLanguage"][0]
            messages.append(
                {"id": dn, "sender": sender, "recipient": member["contactAddress"][0]}
                | _template(templates[language if language in templates else "en"], member, password)
            )
        elif member and password:
            left[dn] = password
            unreachable.append(member["uid"][0])
    return {
        "messages": messages,
        "unreachable": sorted(unreachable),
        "spool": "".join(f"{dn}\t{password}\n" for dn, password in left.items()),
    }


def _template(text: str, member: Entry, password: str) -> dict[str, str]:
    """First line: the subject. Second: what stands for $password when the member knows it. Then the message."""
    subject, known, body = text.split("\n", 2)
    fields = {"name": member["cn"][0], "login": member["mail"][0], "password": password or known}
    return {"subject": Template(subject).safe_substitute(fields), "body": Template(body).safe_substitute(fields).lstrip("\n")}


DAY = {"fr": "%d/%m/%Y", "nl": "%d/%m/%Y", "de": "%d.%m.%Y", "en": "%-d %B %Y"}


def receipts(leavers: Iterable[Mapping[str, Any]], what: str, templates: Mapping[str, str], today: str) -> list[dict[str, str]]:
    """The receipts of members who leave, as member_receipts writes them.

    `leavers`: of members_plan, its `leaving` or `removals`; `what`: the word of the receipt's name; `templates`: by
    language, the subject, then the text, with $name, $login, $today and $until.
    """
    found = []
    for leaver in leavers:
        language = leaver["language"] if leaver["language"] in templates else "en"
        days = {"today": today, "until": leaver["until"]}
        said = {word: date.fromisoformat(day).strftime(DAY[language]) for word, day in days.items() if day}
        fields = {"name": leaver["name"], "login": leaver["mail"], **said}
        subject, body = (Template(part).safe_substitute(fields) for part in templates[language].split("\n", 1))
        name = f"{leaver['login']}-{what}-{leaver['until'] or today}.txt"
        found.append({"name": name, "recipient": leaver["contact"], "subject": subject, "body": body.lstrip("\n")})
    return found


def welcome_left(spool: str, sent: Iterable[str]) -> str:
    """The spool without those whose message is on its way."""
    gone = set(sent)
    return "".join(f"{line}\n" for line in spool.splitlines() if line.split("\t", 1)[0] not in gone)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "service_entries": service_entries,
            "alias_entries": alias_entries,
            "role_aliases": role_aliases,
            "members_from_csv": members_from_csv,
            "members_from_variable": members_from_variable,
            "members_plan": members_plan,
            "local_day": local_day,
            "receipts": receipts,
            "welcome_messages": welcome_messages,
            "welcome_left": welcome_left,
        }
