"""A member's mail in a browser: signed in once, at the portal; and out for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from browser import Browser, browser
from conftest import Clients, Member, becomes, token, until
from testinfra.host import Host

FIELDS = ("input[name=user]", "input[name=password]")


def inbox(person: Browser, seconds: float = 20) -> None:
    """Wait until the inbox is there, and its script at work."""
    ready = "return document.readyState === 'complete' && document.body.matches('.task-mail') && !rcmail.busy"
    until("the inbox", lambda: person.driver.execute_script(ready), seconds)


def sign_in(person: Browser, member: Member, webmail: str, portal: str) -> None:
    """From webmail's own address, as a bookmark would."""
    person.open(webmail)
    person.at(portal)
    person.fill({FIELDS[0]: member.login, FIELDS[1]: member.password})
    person.at(webmail)
    inbox(person)


def out(person: Browser, webmail: str, portal: str) -> bool:
    """Whether webmail sends to the portal, which asks who it is; on a page that has nothing to do with mail, too."""
    person.open(f"{webmail}?_task=settings&_action=identities")
    return person.driver.current_url.startswith(portal) and bool(person.driver.find_elements("css selector", FIELDS[1]))


def test_signed_in_at_the_portal_there_is_no_second_prompt(
    clients: Clients, members: dict[str, Member], server: str, webmail: str, portal: str
) -> None:
    anna, subject = members["anna"], token()
    assert clients.stranger_sends(anna.mail, subject).code == 0
    clients.receive(anna, subject)
    with browser(server) as person:
        person.open(portal)
        person.fill({FIELDS[0]: anna.login, FIELDS[1]: anna.password})
        until("the portal's tiles", lambda: not person.driver.find_elements("css selector", FIELDS[1]))
        person.open(webmail)
        inbox(person)
        until("the message in the list", lambda: subject in person.text())
        room = "return document.querySelector('#quotadisplay').textContent"
        until("how full the mailbox is", lambda: "%" in person.driver.execute_script(room))
        person.keep("webmail-inbox")
        assert person.hosts_asked() <= {webmail.split("/")[2]}
        assert person.driver.find_element("css selector", "html").get_attribute("lang") == "fr"


def test_it_speaks_english_too(members: dict[str, Member], server: str, webmail: str, portal: str) -> None:
    with browser(server, "en") as person:
        sign_in(person, members["chloe"], webmail, portal)
        person.read("Inbox")
        person.read("No messages found in this mailbox.")
        assert person.driver.find_element("css selector", "html").get_attribute("lang") == "en"


def test_a_reply_with_an_attachment_reaches_a_stranger(
    world: Host, clients: Clients, members: dict[str, Member], server: str, webmail: str, portal: str
) -> None:
    anna, subject = members["anna"], token()
    world.check_output("printf 'what it says' >/run/journey.txt")
    assert clients.stranger_sends(anna.mail, subject).code == 0
    clients.receive(anna, subject)
    with browser(server) as person:
        sign_in(person, anna, webmail, portal)
        until("the message in the list", lambda: subject in person.text())
        uid = person.driver.execute_script("return rcmail.message_list.get_first_row()")
        person.open(f"{webmail}?_task=mail&_mbox=INBOX&_uid={uid}&_action=show")
        person.see("#messagebody")
        person.keep("webmail-message")
        person.open(f"{webmail}?_task=mail&_mbox=INBOX&_reply_uid={uid}&_action=compose")
        person.see("#composebody").send_keys("Merci !")
        person.driver.find_element("css selector", "#uploadform input[type=file]").send_keys("/run/journey.txt")
        person.see("#attachment-list li a.delete")
        person.keep("webmail-compose")
        person.see("button.send").click()
        received = clients.stranger_receives(f"Re: {subject}")
    assert "dkim=pass" in received and "Merci" in received and "journey.txt" in received
    assert f"<{anna.mail}>" in received and "Roundcube" not in received
    assert clients.find(anna, subject, "Sent"), "no copy in Sent"


PAGES = {
    "inbox": "?_task=mail",
    "message": "?_task=mail&_mbox=INBOX&_uid=1&_action=show",
    "compose": "?_task=mail&_action=compose",
    "contacts": "?_task=addressbook",
    "settings": "?_task=settings",
    "preferences": "?_task=settings&_action=edit-prefs&_section=general&_framed=1",
    "folders": "?_task=settings&_action=folders",
    "filters": "?_task=settings&_action=plugin.managesieve",
    "vacation": "?_task=settings&_action=plugin.managesieve-vacation",
}


def test_no_page_keeps_anybody_out(clients: Clients, members: dict[str, Member], server: str, webmail: str, portal: str) -> None:
    anna, subject = members["anna"], token()
    assert clients.stranger_sends(anna.mail, subject).code == 0
    clients.receive(anna, subject)
    with browser(server) as person:
        sign_in(person, anna, webmail, portal)
        found = {}
        for name, page in PAGES.items():
            person.open(webmail + page)
            until(name, lambda: person.driver.execute_script("return document.readyState === 'complete' && !rcmail.busy"))
            person.keep(f"webmail-{name}")
            found[name] = person.obstacles()
        assert not any(found.values()), found


def test_a_members_addresses_are_the_identities(members: dict[str, Member], server: str, webmail: str, portal: str) -> None:
    anna = members["anna"]
    with browser(server) as person:
        sign_in(person, anna, webmail, portal)
        person.open(f"{webmail}?_task=settings&_action=identities")
        shown = person.see("#identities-table").text
        person.keep("webmail-identities")
    assert sorted(line.partition("<")[2].strip(">") for line in shown.splitlines()) == sorted([anna.alias, anna.mail])


def test_signing_out_on_either_side_ends_both(members: dict[str, Member], server: str, webmail: str, portal: str) -> None:
    with browser(server, "nl") as person:
        sign_in(person, members["bram"], webmail, portal)
        assert person.driver.find_element("css selector", "html").get_attribute("lang") == "nl"
        assert not out(person, webmail, portal)
        person.open(f"{portal}?logout=1")
        assert out(person, webmail, portal)
        sign_in(person, members["bram"], webmail, portal)
        person.driver.execute_script("document.querySelector('a.logout').click()")
        person.at(portal)
        person.see(FIELDS[1])
        person.open(portal)
        assert person.driver.find_elements("css selector", FIELDS[1])


@contextmanager
def suspended(member: Member) -> Iterator[None]:
    becomes(member, "suspended")
    try:
        yield
    finally:
        becomes(member, "present")


def test_a_suspended_member_is_out_within_a_minute(members: dict[str, Member], server: str, webmail: str, portal: str) -> None:
    with browser(server) as person, browser(server) as other:
        sign_in(person, members["bram"], webmail, portal)
        sign_in(other, members["anna"], webmail, portal)
        with suspended(members["bram"]):
            person.open(f"{webmail}?_task=settings&_action=identities")
            assert not person.driver.find_elements("css selector", "#identities-table"), person.text()
            assert not out(other, webmail, portal)
