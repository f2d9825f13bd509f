"""What somebody would try who runs code in an app: each attempt, and what the kernel says to it, as JSON.

Runs in the sandbox of an app, and outside of it as root, where it succeeds. It undoes what it has done.
"""

import ctypes
import errno
import json
import mmap
import os
import shutil
import socket
import stat
import subprocess

TARGET = 0  # a process of somebody else's, whose number the test puts here
DATA = "/srv/guestbook/data"
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
CLONE_NEWNS, MNT_DETACH = 0x20000, 2
libc = ctypes.CDLL(None, use_errno=True)


def call(name, *words):
    if getattr(libc, name)(*words) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write_configuration():
    with open("/etc/attempt", "w"):
        os.unlink("/etc/attempt")


def read_passwords():
    with open("/etc/shadow") as handle:
        handle.read()


def read_keys():
    with open("/etc/djangofleet/certificates/guestbook/privkey.pem") as handle:
        handle.read()


def read_secrets():
    with open("/etc/djangofleet/guestbook/secret") as handle:
        handle.read()


def open_raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


def mount_a_filesystem():
    call("mount", b"none", b"/mnt", b"tmpfs", 0, None)
    call("umount2", b"/mnt", MNT_DETACH)


def trace_a_process():
    call("ptrace", PTRACE_ATTACH, TARGET, None, None)
    os.waitpid(TARGET, 0)
    call("ptrace", PTRACE_DETACH, TARGET, None, None)


def make_a_setuid_file():
    path = DATA + "/attempt"
    with open(path, "w"):
        pass
    try:
        os.chmod(path, 0o4755)
        assert os.stat(path).st_mode & stat.S_ISUID
    finally:
        os.unlink(path)


def run_what_was_written():
    path = DATA + "/attempt"
    shutil.copy("/bin/true", path)
    os.chmod(path, 0o755)
    try:
        subprocess.run([path], check=True)
    finally:
        os.unlink(path)


def map_memory_that_is_written_and_run():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def leave_the_namespace():
    call("unshare", CLONE_NEWNS)


def rename_the_host():
    name = socket.gethostname().encode()
    call("sethostname", name, len(name))


def main():
    said = {}
    for attempt in (write_configuration, read_passwords, read_keys, read_secrets, open_raw_socket, mount_a_filesystem,
                    trace_a_process, make_a_setuid_file, run_what_was_written, map_memory_that_is_written_and_run,
                    rename_the_host, leave_the_namespace):  # fmt: skip
        try:
            attempt()
            said[attempt.__name__] = "done"
        except OSError as error:
            said[attempt.__name__] = errno.errorcode.get(error.errno, str(error))
    print(json.dumps(said))


main()
