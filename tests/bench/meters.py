"""What a server uses: processor time and memory of a tree of processes, and what the disk under a
folder was asked to do."""

import glob
import os
import resource
import stat
import subprocess

TICK = os.sysconf("SC_CLK_TCK")


class LoadFailed(Exception):
    """The generator met something that it did not expect; its sentence."""


def command(build, part, options):
    return [os.path.join(build, "tests/bench/load"), part, *("%s=%s" % o for o in options.items())]


def sentence(text):
    """What the generator said when it failed."""
    return text.strip().removeprefix("load: ") or "it said nothing"


def load(build, part, patience=300.0, under=(), **options):
    """Runs one part of the generator to its end, `under` a command; its figures by name."""
    try:
        done = subprocess.run([*under, *command(build, part, options)], capture_output=True, check=False,
                              text=True, timeout=patience)
    except subprocess.TimeoutExpired:
        raise LoadFailed("%s did not end in %d s" % (part, patience)) from None
    if done.returncode != 0:
        raise LoadFailed(sentence(done.stderr))
    return figures(done.stdout)


def figures(line):
    """{name: number} of a line of NAME=VALUE."""
    return {name: float(value) for name, value in (word.split("=") for word in line.split())}


class Background:
    """A part of the generator that runs until it is let go; `said` is its first line."""

    def __init__(self, build, part, **options):
        self.process = subprocess.Popen(command(build, part, options), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise LoadFailed(sentence(self.process.communicate()[1]))
        self.said = figures(line)

    def close(self):
        self.process.communicate()


class Beside:
    """A part of the generator that runs to its end beside something else; `cpu` is what processor
    time it took, once it has ended."""

    def __init__(self, build, part, **options):
        self.process = subprocess.Popen(command(build, part, options), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def result(self):
        before = _waited_seconds()
        out, err = self.process.communicate(timeout=300)
        self.cpu = _waited_seconds() - before
        if self.process.returncode != 0:
            raise LoadFailed(sentence(err))
        return figures(out) if out else {}


def _waited_seconds():
    """Processor time of our children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stats():
    """{pid: (parent, seconds)}; seconds with those of waited children."""
    out = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                text = f.read()
        except OSError:
            continue
        # The name in parentheses may hold anything.
        rest = text[text.rindex(")") + 2:].split()
        out[int(text.split(" ", 1)[0])] = (int(rest[1]), sum(map(int, rest[11:15])) / TICK)
    return out


def tree(roots):
    """The processes below `roots`, and these: {pid: seconds}."""
    stats = _stats()
    children = {}
    for pid, (parent, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    found, todo = {}, list(roots)
    while todo:
        pid = todo.pop()
        if pid in stats and pid not in found:
            found[pid] = stats[pid][1]
            todo += children.get(pid, [])
    return found


def cpu_seconds(roots):
    return sum(tree(roots).values())


def pss_octets(roots):
    """Proportional set size of the tree: what is shared is shared out."""
    total = 0
    for pid in tree(roots):
        try:
            with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
                for line in f:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def _diskstats(folder):
    """The counters of the device under `folder`, of all who use it; None where the kernel does not
    tell."""
    device = os.stat(folder).st_dev
    wanted = [str(os.major(device)), str(os.minor(device))]
    with open("/proc/diskstats", encoding="ascii") as f:
        for line in f:
            fields = line.split()
            if fields[:2] == wanted and len(fields) >= 19:
                return list(map(int, fields[3:]))
    return None


def disk(folder):
    """(octets written, flushes) so far; None where the kernel does not tell."""
    stats = _diskstats(folder)
    return stats and (stats[6] * 512, stats[15])


def disk_read(folder):
    """Octets read so far; None likewise."""
    stats = _diskstats(folder)
    return stats and stats[2] * 512


def empty_page_cache():
    """Of all files, once they are on the disk.  Only root may: for others it stays as it is."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("1")
    except OSError:
        pass


def forget_pages(folder):
    """Lets the page cache drop what it holds of the files below `folder`."""
    os.sync()
    for path, _, names in os.walk(folder):
        for name in names:
            name = os.path.join(path, name)
            try:
                # A pipe would wait for its other end.
                if not stat.S_ISREG(os.lstat(name).st_mode):
                    continue
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
