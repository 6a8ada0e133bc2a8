"""What a member takes along: who may be exported, and what of the directory comes with it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jinja2
import member_export
import pytest
from ansible.errors import AnsibleFilterError

ROOT = Path(__file__).parents[2]
DN = "uid=alice,ou=members,dc=coop,dc=test"
PICTURE = base64.b64encode(b"\xff\xd8").decode()
LDIF = f"""dn: {DN}
mail: alice@coop.test
mailAlias: a@coop.test
mailAlias: b@coop.test
cn:: {base64.b64encode("Zoë".encode()).decode()}
jpegPhoto:: {PICTURE}
userPassword:: c2VjcmV0
"""
ACCESS = 'authcDN: "x"\n' + "".join(f"read access to {name}: ALLOWED\n" for name in ("mail", "mailAlias", "cn", "jpegPhoto"))
ACCESS += "read access to userPassword: DENIED\n"


@pytest.mark.parametrize("asked", ["alice bob", "alice,bob, alice", ["alice", "bob"]])
def test_one_or_several(asked: object) -> None:
    assert member_export.export_logins(asked) == ["alice", "bob"]


@pytest.mark.parametrize(
    ("logins", "options", "says"),
    [
        ([], {}, ["names nobody"]),
        (["alise", "zed"], {}, ["'alise' is no member; did you mean 'alice'?", "'zed' is no member; write the login"]),
        (["alice"], {"there": ["alice"]}, ["/x/alice.zip is there already; move it away, or add -e member_export_replace=true"]),
        (["alice"], {"there": ["alice"], "replace": True}, []),
        (["alice"], {"there": ["bob"]}, []),
        (["alice"], {"mode": "0700"}, []),
        (["alice"], {"mode": "0750"}, ["/x is open to others (mode 0750); run chmod 700 /x"]),
    ],
)
def test_what_is_wrong_is_said_with_the_mend(logins: list[str], options: dict[str, object], says: list[str]) -> None:
    given = {"mode": "", "there": []} | options
    problems = member_export.export_problems(logins, ["alice", "bob"], "/x", **given)  # type: ignore[arg-type]
    assert len(problems) == len(says)
    assert all(words in problem for words, problem in zip(says, problems, strict=True))


def test_a_profile_is_what_the_member_may_read() -> None:
    assert member_export.attribute_names(LDIF) == ["mail", "mailAlias", "cn", "jpegPhoto", "userPassword"]
    (profile,) = member_export.member_profiles([LDIF], [ACCESS])
    assert json.loads(profile["json"]) == {
        "dn": DN,
        "mail": ["alice@coop.test"],
        "mailAlias": ["a@coop.test", "b@coop.test"],
        "cn": ["Zoë"],
        "jpegPhoto": [{"base64": PICTURE}],
    }
    assert profile["ldif"] == "version: 1\n\n" + LDIF.replace("userPassword:: c2VjcmV0\n", "")
    with pytest.raises(AnsibleFilterError, match="slapacl does not say whether the member may read cn, jpegPhoto, mail"):
        member_export.member_profiles([LDIF], ["no answer"])


@pytest.mark.parametrize(("cloud", "apps"), [([], []), (["dyle"], []), (["dyle"], [{"name": "user_migration"}])])
@pytest.mark.parametrize("language", ["fr", "nl", "de", "en"])
@pytest.mark.parametrize("mail", [["lesse"], []])
def test_the_letter_says_what_is_what(language: str, cloud: list[str], apps: list[dict[str, str]], mail: list[str]) -> None:
    text = (ROOT / f"playbooks/templates/export.{language}.txt.j2").read_text()
    # as Ansible has it
    template = jinja2.Template(text, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    variables = {"coop_name": "Coop $5", "coop_domain": "coop.test", "hostvars": {"dyle": {"nextcloud_apps": apps}}}
    letter = template.render(variables, groups={"nextcloud": cloud, "mail": mail})
    member = {"uid": "alice", "mail": "alice@coop.test", "cn": "Alice Dubois", "preferredLanguage": language}
    profile = {"json": "{}", "ldif": "dn: x"}
    (export,) = member_export.member_exports([member], [profile], {language: letter, "en": letter}, "2026-11-24")
    assert (export["login"], export["mail"]) == ("alice", "alice@coop.test")
    readme = export["files"].pop("README.txt")
    assert export["files"] == {"profile.json": "{}", "profile.ldif": "dn: x"}
    for word in ("Coop $5", "Alice Dubois (alice@coop.test)", "2026", "profile.json", "SHA256SUMS"):
        assert word in readme
    assert ("mail/ " in readme) is ("sieve/" in readme) is bool(mail)
    assert "$" not in readme.replace("Coop $5", "") and "\r\n\r\n\r\n" not in readme
    assert ("https://cloud.coop.test" in readme) is bool(cloud)  # what the cloud has: how to get it, or where it is
    assert ("alice+cloud.zip" in readme) is bool(apps)
