"""Runs on `world`: numbered messages from the stranger's mail host, eight at a time; prints each subject once answered 250.

usage: load.py SERVER RECIPIENT COUNT SOURCE-ADDRESS SUBJECT. A refused connection is tried again, as any mail host would.
"""

import concurrent.futures
import smtplib
import sys
import time

server, recipient, count, source, subject = sys.argv[1:]
MESSAGE = """\
From: sarah@stranger.test
To: {recipient}
Subject: {subject}-{number:04}
Message-ID: <{subject}-{number:04}@stranger.test>

One of many.
"""


def send(number: int) -> int:
    deadline = time.monotonic() + 120
    text = MESSAGE.format(recipient=recipient, number=number, subject=subject).replace("\n", "\r\n")
    while True:
        try:
            with smtplib.SMTP(server, 25, timeout=20, source_address=(source, 0)) as smtp:
                smtp.sendmail("sarah@stranger.test", [recipient], text)
            return number
        except (OSError, smtplib.SMTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for done in concurrent.futures.as_completed([pool.submit(send, number) for number in range(int(count))]):
        print(f"{subject}-{done.result():04}", flush=True)
