"""getmail as its users have it: all mail of a mailbox into a new Maildir or mbox, which it leaves there."""

import os
import shutil
import subprocess

from testsite import SLOW

# It does not deliver as root.
NOBODY = "nobody"

RC = """[retriever]
type = SimplePOP3%sRetriever
server = %s
port = %d
username = %s
password = %s
%s
[destination]
type = %s
path = %s
user = %s

[options]
read_all = true
delete = false
%s
"""

# Each message is delivered by a child, and getmail begins to listen for the child's end only when it has
# been forked: one that ends sooner is waited for until the time-out.  Here it is waited for as such.
WAITING = """
import os, runpy, shutil
from getmailcore.baseclasses import ForkingBase
ForkingBase._prepare_child = lambda self: None
ForkingBase._wait_for_child = lambda self, pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
runpy.run_path(shutil.which("getmail"), run_name="__main__")
"""


def _interpreter():
    """Of getmail, which need not be that of the tests."""
    with open(shutil.which("getmail"), encoding="utf-8") as f:
        return f.readline()[2:].split()[0]


def _made_empty(folder, kind):
    path = os.path.join(folder, "mbox" if kind == "Mboxrd" else "md/")
    shutil.rmtree(os.path.join(folder, "md"), ignore_errors=True)
    for name in ("new", "cur", "tmp"):
        os.makedirs(os.path.join(folder, "md", name))
    with open(os.path.join(folder, "mbox"), "wb"):
        pass
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", NOBODY, folder], check=True)
    return path


def fetch(site, folder, user, password, kind="Maildir", tls=False, options=""):
    """Fetches into `folder`, which `nobody` can reach; returns the path of what is filled."""
    host, port = site.address("pop3s" if tls else "pop3")
    path = _made_empty(folder, kind)
    with open(os.path.join(folder, "rc"), "w", encoding="ascii") as f:
        f.write(RC % ("SSL" if tls else "", host, port, user, password,
                      "ca_certs = " + site.certificate if tls else "", kind, path,
                      NOBODY if os.getuid() == 0 else "", options))
    done = subprocess.run(
        [_interpreter(), "-c", WAITING, "--getmaildir=" + folder, "--rcfile=" + os.path.join(folder, "rc")],
        capture_output=True, check=False, timeout=90 * SLOW,
        env=dict(os.environ, LC_ALL="C", HOME=folder))
    if done.returncode != 0:
        raise AssertionError((done.stdout + done.stderr).decode("utf-8", "replace")[-1500:])
    return path
