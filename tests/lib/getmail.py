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
    # Once in some dozen runs it stands still for ever, all of its socket read, at a lock that its child,
    # which delivered and is gone, was to give back.  Then all is fetched anew.
    for tries_left in (2, 1, 0):
        path = _made_empty(folder, kind)
        with open(os.path.join(folder, "rc"), "w", encoding="ascii") as f:
            f.write(RC % ("SSL" if tls else "", host, port, user, password,
                          "ca_certs = " + site.certificate if tls else "", kind, path,
                          NOBODY if os.getuid() == 0 else "", options))
        try:
            done = subprocess.run(
                ["getmail", "--getmaildir=" + folder, "--rcfile=" + os.path.join(folder, "rc")],
                capture_output=True, check=False, timeout=30 * SLOW,
                env=dict(os.environ, LC_ALL="C", HOME=folder))
        except subprocess.TimeoutExpired:
            if tries_left == 0:
                raise
            continue
        if done.returncode != 0:
            raise AssertionError((done.stdout + done.stderr).decode("utf-8", "replace")[-1500:])
        return path
    return None
