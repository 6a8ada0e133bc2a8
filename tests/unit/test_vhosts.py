"""Web vhosts: from the manifests to nginx."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from conftest import ROOT, Coop
from manifests import manifests, web_vhosts
from vhosts import VHOST, first_of_month, vhost_flaws

ROLE = ROOT / "roles/nginx"
SPEC: dict[str, Any] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]


def house(coop: Coop, *vhosts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    coop.mail["names"] = ["mail", "webmail"]
    coop.mail["vhosts"] = list(vhosts)
    return manifests(coop.hostvars, coop.groups)


def test_a_vhost_has_its_whole_name_and_the_certificate_of_its_service(coop: Coop) -> None:
    made = web_vhosts(house(coop, {"name": "webmail", "root": "/srv/www"}), "b", "coop.test")
    assert [(vhost["name"], vhost["certificate"], vhost["body_mib"]) for vhost in made] == [
        ("webmail.coop.test", "/etc/certificates/mail", 1)
    ]
    assert set(made[0]) == set(SPEC["nginx_vhosts"]["options"])
    assert vhost_flaws(made) == []


def test_a_name_in_every_domain_is_a_vhost_in_each(coop: Coop) -> None:
    coop.mail["names_everywhere"] = ["mta-sts"]
    made = web_vhosts(house(coop, {"name": "mta-sts", "extra": "#"}, {"name": "mail", "root": "/"}), "b", "coop.test", ["f.test"])
    assert [(vhost["name"], vhost["certificate"], vhost["optional"]) for vhost in made] == [
        ("mta-sts.coop.test", "/etc/certificates/mail", False),
        ("mta-sts.f.test", "/etc/certificates/mail-f.test", True),
        ("mail.coop.test", "/etc/certificates/mail", False),
    ]
    assert vhost_flaws(made) == []


def test_who_is_answered_is_said_as_in_listens(coop: Coop) -> None:
    coop.mail["listens"] = []
    said = {"any": "any", "dns": ["10.1.0.1/32", "10.1.0.2/32", "fd00:1::1/128", "fd00:1::2/128"], "admin": ["10.9.0.0/24"]}
    said |= {"internet": ["10.1.0.10/32", "fd00:1::10/128"], "10.7.0.0/16": ["10.7.0.0/16"], "nobody": []}
    coop.groups["nobody"] = []
    for peer, networks in said.items():
        made = house(coop, {"name": "webmail", "root": "/srv/www", "from": peer})
        (vhost,) = web_vhosts(made, "b", "coop.test", (), coop.hostvars, coop.groups, ["10.9.0.0/24"])
        assert vhost["from"] == networks, peer
    for peer in ("dsn", ["dns"]):
        with pytest.raises(AnsibleFilterError, match=r"mail_manifest\.vhosts\[0\]\.from: .* is neither any, admin, a group"):
            house(coop, {"name": "webmail", "root": "/srv/www", "from": peer})


def test_it_is_on_the_hosts_of_its_service_only(coop: Coop) -> None:
    made = house(coop, {"name": "webmail", "root": "/srv/www"})
    assert web_vhosts(made, "a", "coop.test") == []


def test_the_role_and_the_manifest_have_one_vocabulary() -> None:
    options = SPEC["nginx_vhosts"]["options"]
    del options["certificate"], options["optional"]
    assert {key: (spec["type"], spec.get("default")) for key, spec in options.items()} == {
        key: (spec["type"], spec.get("default")) for key, spec in VHOST.items()
    }


@pytest.mark.parametrize(
    ("vhost", "said"),
    [
        ({"name": "webmail"}, "webmail: give it root, proxy or both, or extra alone, or else redirect alone"),
        ({"name": "webmail", "root": "/srv", "redirect": "https://x.test"}, "or else redirect alone"),
        ({"name": "cloud", "root": "/srv"}, "'cloud' is none of mail_manifest.names"),
        ({"name": "webmail", "root": "srv"}, "webmail.root: 'srv' is no absolute path"),
        ({"name": "webmail", "proxy": "http://127.0.0.1:80/"}, "with nothing behind it"),
        ({"name": "webmail", "proxy": "http://a:80", "php": "/run/x"}, "webmail.php: needs the directory of its files"),
        ({"name": "webmail", "root": "/srv", "body_mib": 0}, "webmail.body_mib: 0 would be no limit"),
        ({"name": "webmail", "root": "/srv", "secret_below": ["/p"]}, "webmail.secret_below: '/p' must be a path from / to /"),
        ({"name": "webmail", "root": "/srv", "secret_below": ["/"]}, "webmail.secret_below: '/' must be a path from / to /"),
        ({"name": "webmail", "root": "/srv", "headers": {"X Y": "z"}}, "webmail.headers: 'X Y' must be a header's name"),
        ({"name": "webmail", "rot": "/srv"}, "mail_manifest.vhosts[0].rot: unknown key, did you mean 'root'?"),
    ],
)
def test_what_does_not_hold_is_named_with_its_mend(coop: Coop, vhost: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=re.escape(said)):
        house(coop, vhost)


def test_a_vhost_needs_a_certificate_and_a_name_of_its_own(coop: Coop) -> None:
    coop.mail.update({"certificate": False, "tlsa": []})
    with pytest.raises(AnsibleFilterError, match="needs a certificate"):
        house(coop, {"name": "mail", "root": "/srv"})
    del coop.mail["certificate"]
    with pytest.raises(AnsibleFilterError, match="mail: is there 2 times"):
        house(coop, {"name": "mail", "root": "/srv"}, {"name": "mail", "root": "/srv"})


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:3000", "http://[::1]:80", "https://b.coop.test", "http://unix:/run/x.sock"])
def test_servers_behind(proxy: str) -> None:
    assert vhost_flaws([{"name": "a.test", "proxy": proxy}]) == []


@pytest.mark.parametrize(
    ("today", "first"),
    [("2026-01-01", "2026-12-01"), ("2026-01-31", "2026-12-01"), ("2026-02-01", "2027-01-01"), ("2026-12-31", "2027-11-01")],
)
def test_a_date_that_stays_for_a_month_and_is_less_than_a_year_away(today: str, first: str) -> None:
    day = datetime.date.fromisoformat(today)
    assert first_of_month(day, 11) == f"{first}T00:00:00Z"
    assert 300 < (datetime.date.fromisoformat(first) - day).days < 365


# The file, through Ansible's own templating


def configuration(**variables: Any) -> str:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    given = defaults | {"ansible_managed": "managed", "__nginx_security_expires": "2027-10-01T00:00:00Z"} | variables
    given["__nginx_vhosts"] = given["nginx_vhosts"]
    template = (ROLE / "templates/nginx.conf.j2").read_text()
    templar = Templar(loader=DataLoader(), variables=given)
    return str(templar.template(trust_as_template("#jinja2: trim_blocks: True\n" + template)))


def server(text: str, name: str) -> str:
    return next(
        block for block in text.split("\n  server {\n") if f"server_name {name};" in block and "ssl_certificate " in block
    )


def test_headers_are_the_vhosts_before_the_houses() -> None:
    headers = {"X-Frame-Options": "", "Content-Security-Policy": 'default-src "x"', "X-Own": "1"}
    vhosts = [{"name": "a.test", "certificate": "/c", "proxy": "http://b", "headers": headers}]
    block = server(configuration(nginx_vhosts=vhosts), "a.test")
    assert 'add_header Content-Security-Policy "default-src \\"x\\"" always;' in block
    assert 'add_header X-Own "1" always;' in block
    assert "add_header X-Content-Type-Options" in block and "proxy_hide_header X-Content-Type-Options;" in block
    assert "X-Frame-Options" not in block


def test_who_is_not_of_the_networks_is_refused_and_nobody_where_there_are_none() -> None:
    vhost = {"name": "a.test", "certificate": "/c", "root": "/srv"}
    refuses = {}
    for who in (["10.1.0.0/24", "fd00::/64"], [], "any"):
        block = server(configuration(nginx_vhosts=[vhost | {"from": who}]), "a.test")
        refuses[str(who)] = re.findall(r"^    (allow \S+|deny \S+);", block, re.MULTILINE)
    assert list(refuses.values()) == [["allow 10.1.0.0/24", "allow fd00::/64", "deny all"], ["deny all"], []]


def test_what_extra_alone_does_not_answer_is_not_found() -> None:
    vhosts = [{"name": "a.test", "certificate": "/c", "extra": "location = /x { return 200 y; }"}]
    block = server(configuration(nginx_vhosts=vhosts), "a.test")
    assert "location = /x { return 200 y; }" in block and re.search(r"location / \{\s+return 404;", block)
    for kind in ({"root": "/srv"}, {"proxy": "http://b"}, {"redirect": "https://b.test/"}):
        assert "return 404;\n    }\n  }" not in server(configuration(nginx_vhosts=[vhosts[0] | kind]), "a.test")


def test_security_txt_is_there_when_there_is_a_contact() -> None:
    vhosts = [{"name": "a.test", "certificate": "/c", "root": "/srv"}]
    assert "security.txt" not in configuration(nginx_vhosts=vhosts)
    block = server(configuration(nginx_vhosts=vhosts, nginx_security_contacts=["mailto:a@a.test"]), "a.test")
    assert (
        r'return 200 "Contact: mailto:a@a.test\nExpires: 2027-10-01T00:00:00Z\nPreferred-Languages: en\n'
        r'Canonical: https://a.test/.well-known/security.txt\n";'
    ) in block


def test_dotfiles_are_refused_before_php_runs_and_after_what_the_vhost_adds() -> None:
    vhost = {"name": "a.test", "certificate": "/c", "root": "/srv", "php": "/run/p.sock", "extra": "location ~ ^/dav/ {}"}
    block = server(configuration(nginx_vhosts=[vhost]), "a.test")
    found = [block.index(part) for part in ("location ~ ^/dav/", r"location ~ /\.(?!well-known/)", r"location ~ \.php$")]
    assert found == sorted(found)
