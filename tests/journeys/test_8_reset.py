"""Who forgot their password is back without the sysadmin, by a link that comes to their contact address and works once."""

from __future__ import annotations

import email
import email.policy
import re

from browser import browser
from conftest import REFUSED, Clients, Member, new_password, until
from testinfra.host import Host


def links(world: Host, portal: str) -> list[str]:
    """In the stranger's mailbox that is the member's contact."""
    found: list[str] = []
    for name in world.check_output("grep -lr resetpwd /srv/mail/victor/new || :").split():
        message = email.message_from_string(world.check_output("cat %s", name), policy=email.policy.default)
        body = message.get_body(("plain", "html"))
        found += re.findall(rf"{portal}resetpwd\?[\w=&%.-]+", str(body.get_content()).replace("&amp;", "&") if body else "")
    return found


def set_anew(clients: Clients, otto: Member, new: str, world: Host, server: str, portal: str) -> None:
    with browser(server, "nl") as page:
        page.open(f"{portal}resetpwd")
        page.fill({"input[name=mail]": otto.mail})
        page.keep("portal-reset-sent-nl")
        assert not page.obstacles()
    link = until("the link", lambda: links(world, portal))[-1]
    assert clients.curl(otto, "").code == 0, "to ask changes nothing"
    with browser(server, "nl") as page:
        page.open(link)
        page.see("input[name=newpassword]")
        page.keep("portal-reset-new-nl")
        assert not page.obstacles()
        page.fill({"input[name=newpassword]": new, "input[name=confirmpassword]": new})
        until("the new one opens the mailbox", lambda: clients.curl(otto, "", password=new).code == 0)
        until("and the old one no more", lambda: clients.curl(otto, "").code == REFUSED, 60)
        page.sign_in(portal, otto.mail, new)
        assert page.at_home(portal)
    with browser(server, "nl") as page:
        page.open(link)
        page.see(".alert-danger, .alert-warning, .message-negative")
        page.keep("portal-reset-again-nl")
        assert not page.driver.find_elements("css selector", "input[name=newpassword]")


def test_a_forgotten_password_is_set_anew_once_and_ends_what_the_old_one_began(
    clients: Clients, members: dict[str, Member], world: Host, server: str, portal: str, webmail: str, cloud: str, devices: str
) -> None:
    otto = members["otto"]
    assert clients.curl(otto, "").code == 0
    with browser(server, "nl") as thief:

        def inside(service: str) -> bool:
            thief.open(service)
            return thief.driver.current_url.startswith(service)

        thief.sign_in(portal, otto.mail, otto.password)
        assert thief.at_home(portal)
        services = (webmail, cloud, devices)
        assert all(inside(service) for service in services)
        set_anew(clients, otto, new_password(), world, server, portal)
        until("signed out at the portal", lambda: not thief.at_home(portal), 60)
        for service in services:
            until(f"signed out at {service}", lambda service=service: not inside(service), 60)
