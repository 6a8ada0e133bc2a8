"""The shortest journey, that bin/lab makes too: a message from a member to a stranger, and one back."""

from __future__ import annotations

from conftest import Clients, Member, token


def test_a_member_writes_to_a_stranger_who_answers(clients: Clients, demo: Member) -> None:
    there, back = token(), token()
    sent = clients.submit(demo, "sarah@stranger.test", there)
    assert sent.code == 0, sent.text
    assert "dkim=pass" in clients.stranger_receives(there)

    answered = clients.stranger_sends(demo.mail, back)
    assert answered.code == 0, answered.text
    assert "dkim=pass" in clients.receive(demo, back)
