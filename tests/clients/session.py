"""What paramiko's users do, told to one server: `session.py HOST PORT KEY APP_PORT`. Says `done` at the end."""

import socket
import stat
import sys
import threading

import paramiko

HOST, PORT, KEY, APP_PORT = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
BYTES = bytes(range(256)) * 12_000


def connect():
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    key = paramiko.Ed25519Key.from_private_key_file(KEY)
    client.connect(HOST, PORT, "blog", pkey=key, look_for_keys=False, allow_agent=False, timeout=20)
    return client


def expect(seen, expected):
    assert seen == expected, f"{seen!r} instead of {expected!r}"


def refused(error, action):
    try:
        answer = action()
    except error:
        return
    raise AssertionError(f"it should be refused, but gave {answer!r}")


def commands(client):
    _, stdout, stderr = client.exec_command("echo out; echo err >&2; exit 7", timeout=20)
    expect((stdout.read(), stderr.read(), stdout.channel.recv_exit_status()), (b"out\n", b"err\n", 7))
    stdin, stdout, _ = client.exec_command("cat; exit 3", timeout=60)

    def feed():
        stdin.write(BYTES)
        stdin.channel.shutdown_write()

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert stdout.read() == BYTES, "bytes were changed"
    feeder.join()
    expect(stdout.channel.recv_exit_status(), 3)


def until(channel, text):
    """Reads on until the text has been shown."""
    shown = b""
    while text not in shown:
        more = channel.recv(4096)
        assert more, f"{text!r} was not shown, but {shown!r}"
        shown += more
    return shown


def shell(client):
    channel = client.invoke_shell("xterm", width=90, height=33)
    channel.settimeout(20)
    channel.sendall(b"stty size; echo $TERM-$((1 + 1))\r")
    assert b"33 90" in until(channel, b"xterm-2"), "the size is another"
    channel.resize_pty(width=132, height=50)
    channel.sendall(b"until stty size | grep '50 132'; do sleep 0.1; done; echo resized-$((1 + 1))\r")
    until(channel, b"resized-2")
    channel.sendall(b"exit 5\r")
    expect(channel.recv_exit_status(), 5)


def files(client):
    sftp = client.open_sftp()
    expect(sftp.normalize("."), "/home/app")
    sftp.chdir("data")
    with sftp.open("sent", "wb") as file:
        file.set_pipelined(True)
        file.write(BYTES)
    expect(sftp.stat("sent").st_size, len(BYTES))
    with sftp.open("sent", "rb") as file:
        file.prefetch()
        assert file.read() == BYTES, "the file has changed"
        file.seek(len(BYTES) - 2)
        expect(file.read(9), b"\xfe\xff")
    with sftp.open("sent", "r+b") as file:
        file.seek(10)
        file.write(b"ten")
        file.truncate(16)
    with sftp.open("sent", "ab") as file:
        file.write(b"end")
    with sftp.open("sent", "rb") as file:
        expect(file.read(), BYTES[:10] + b"ten" + BYTES[13:16] + b"end")
    sftp.chmod("sent", 0o640)
    sftp.utime("sent", (1_000_000_000, 1_000_000_001))
    seen = sftp.stat("sent")
    expect((stat.S_IMODE(seen.st_mode), seen.st_mtime, seen.st_uid), (0o640, 1_000_000_001, 1000))
    sftp.mkdir("dir", 0o700)
    sftp.rename("sent", "dir/a b \u00fc")
    sftp.symlink("a b \u00fc", "dir/link")
    expect(sorted(sftp.listdir("dir")), ["a b \u00fc", "link"])
    expect(sftp.readlink("dir/link"), "a b \u00fc")
    expect(stat.S_ISLNK(sftp.lstat("dir/link").st_mode), True)
    sftp.open("dir/other", "x").close()
    refused(IOError, lambda: sftp.open("dir/other", "x"))
    refused(IOError, lambda: sftp.rename("dir/other", "dir/link"))
    sftp.posix_rename("dir/other", "dir/link")
    expect(sftp.stat("dir/link").st_size, 0)
    refused(IOError, lambda: sftp.rmdir("dir"))
    refused(FileNotFoundError, lambda: sftp.open("/etc/shadow"))
    refused(OSError, lambda: sftp.open("/home/app/env/x", "w"))
    for name in sftp.listdir("dir"):
        sftp.remove(f"dir/{name}")
    sftp.rmdir("dir")
    expect(sftp.listdir("."), [])
    sftp.close()


def forwarding(client):
    transport = client.get_transport()
    origin = ("127.0.0.1", 40000)
    channel = transport.open_channel("direct-tcpip", ("127.0.0.1", APP_PORT), origin, timeout=20)
    channel.settimeout(20)
    channel.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b"".join(iter(lambda: channel.recv(4096), b""))
    assert answer.endswith(b"\r\n\r\none"), answer
    for closed in [("127.0.0.1", PORT), ("localhost", 1), ("203.0.113.1", 80)]:
        refused(paramiko.ChannelException, lambda: transport.open_channel("direct-tcpip", closed, origin, timeout=20))
    refused(paramiko.SSHException, lambda: transport.request_port_forward("127.0.0.1", 0))


def refusals(client):
    transport = client.get_transport()
    refused(paramiko.SSHException, lambda: transport.open_session(timeout=20).request_x11(handler=print))
    channel = transport.open_session(timeout=20)
    channel.invoke_subsystem("netconf")
    assert channel.recv_exit_status() not in (0, -1)
    channel = transport.open_session(timeout=20)
    # Asked without waiting for an answer: what follows shows that nothing came of it.
    channel.request_forward_agent(print)
    channel.exec_command("echo agent=$SSH_AUTH_SOCK display=$DISPLAY")
    expect(channel.makefile().read(), b"agent= display=\n")


def several_at_once(client):
    sessions = [client.exec_command(f"sleep 0.2; echo {number}", timeout=20)[1] for number in range(5)]
    expect([stdout.read() for stdout in sessions], [b"%d\n" % number for number in range(5)])


def new_keys(_):
    # On a connection of its own: paramiko stops for ever where a channel ends while keys are exchanged.
    client = connect()
    transport = client.get_transport()
    transport.set_keepalive(1)
    transport.renegotiate_keys()
    stdin, stdout, _ = client.exec_command("cat", timeout=20)
    for text in [b"one", b"two"]:
        stdin.write(text)
        stdin.flush()
        expect(stdout.read(3), text)
        transport.renegotiate_keys()
    stdin.channel.shutdown_write()
    expect(stdout.channel.recv_exit_status(), 0)
    client.close()


def main():
    client = connect()
    for step in [commands, shell, files, forwarding, refusals, several_at_once, new_keys]:
        step(client)
        print(step.__name__, flush=True)
    client.close()
    print("done")


socket.setdefaulttimeout(60)
main()
