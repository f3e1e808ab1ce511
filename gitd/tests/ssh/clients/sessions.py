"""Commands, bytes and the advertisement of a repository by asyncssh and paramiko: `sessions.py URL KEY DIRECTORY`. Says `done` at
the end."""

import asyncio
import sys
from urllib.parse import urlparse

import asyncssh
import paramiko

URL, KEY, _ = sys.argv[1:]
PLACE = urlparse(URL)
BYTES = bytes(range(256)) * 8000
ADVERTISE = f"git-receive-pack '{PLACE.path}'"


async def by_asyncssh():
    async with asyncssh.connect(PLACE.hostname, PLACE.port, username=PLACE.username, client_keys=[KEY], known_hosts=None) as server:
        done = await server.run("both")
        assert (done.stdout, done.stderr, done.exit_status) == ("out\n", "err\n", 3), done
        done = await server.run(ADVERTISE, input=b"0000", encoding=None)
        assert b" capabilities^{}\0report-status" in done.stdout and done.exit_status == 0, done
        # Several channels of one connection at the same time.
        many = [server.run("echo", input=BYTES, encoding=None) for _ in range(8)]
        for done in await asyncio.gather(*many):
            assert done.stdout == BYTES and done.exit_status == 0
        done = await server.run("die 9")
        assert done.exit_signal[0] == "KILL", done.exit_signal


def by_paramiko():
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    key = paramiko.Ed25519Key.from_private_key_file(KEY)
    client.connect(PLACE.hostname, PLACE.port, PLACE.username, pkey=key, look_for_keys=False, allow_agent=False)
    _, stdout, stderr = client.exec_command("both")
    assert (stdout.read(), stderr.read(), stdout.channel.recv_exit_status()) == (b"out\n", b"err\n", 3)
    stdin, stdout, _ = client.exec_command(ADVERTISE)
    stdin.write(b"0000")
    stdin.channel.shutdown_write()
    assert b" capabilities^{}\0report-status" in stdout.read()
    assert stdout.channel.recv_exit_status() == 0
    client.close()


asyncio.run(by_asyncssh())
by_paramiko()
print("done")
