"""Figures by case, part and server, and the table made of them, as Markdown."""

import statistics

LIMIT = "limit"
OURS = "Restante"
# Parts that say what was measured rather than how fast it is: they have no ratio.
PLAIN = ("connections", "MB read from the disk")


def number(figure):
    """Three digits that matter."""
    if figure >= 1000:
        return format(round(figure, -max(0, len(str(int(figure))) - 3)), ",.0f")
    if figure >= 100:
        return "%.0f" % figure
    if figure >= 10:
        return "%.1f" % figure
    return "%.2f" % figure if figure >= 0.1 else "%.3g" % figure


class Results:
    """All that was measured in a run."""

    def __init__(self):
        self.figures = {}   # (case key, part, server): [figure of each round]
        self.failures = {}  # (case key, server): sentence
        self.parts = {}     # case key: its parts in order
        self.left_out = 0   # measurements for which there was no time

    def add(self, case, part, server, figure):
        self.figures.setdefault((case.key, part, server), []).append(figure)
        parts = self.parts.setdefault(case.key, [])
        if part not in parts:
            parts.append(part)

    def fail(self, case, server, sentence):
        self.failures[case.key, server] = sentence

    def failed(self, server):
        return [key for key, who in self.failures if who == server]

    def cell(self, key, part, server):
        """The median, and behind it the least and the most."""
        if (key, server) in self.failures:
            return "failed"
        got = self.figures.get((key, part, server))
        if not got:
            return "–"
        text = number(statistics.median(got))
        return text if len(got) == 1 else "%s (%s to %s)" % (text, number(min(got)),
                                                            number(max(got)))

    def median(self, key, part, server):
        got = self.figures.get((key, part, server))
        return statistics.median(got) if got and (key, server) not in self.failures else None

    def ratios(self, case, part, peers):
        """Restante's figure as a multiple of the best peer's, and of the limit."""
        if part in PLAIN:
            return "–", "–"
        ours = self.median(case.key, part, OURS)
        others = [m for m in (self.median(case.key, part, p) for p in peers) if m is not None]
        more = part.endswith("a second") if part else case.more
        best = (max if more else min)(others) if others else None
        limit = self.median(case.key, part, LIMIT)
        return tuple("× " + number(ours / than) if ours is not None and than else "–"
                     for than in (best, limit))

    def table(self, cases, servers, absent):
        """Rows in the order of the cases; below it the limits by name, and what is missing."""
        peers = [s for s in servers if s != OURS]
        lines = ["| case | " + " | ".join(servers) + " | against the best peer | limit | against it |",
                 "| --- |" + " ---: |" * (len(servers) + 3)]
        notes = []
        for case in cases:
            for part in self.parts.get(case.key, [""]):
                cells = [self.cell(case.key, part, s) for s in servers]
                against, of_limit = self.ratios(case, part, peers)
                limit = self.cell(case.key, part, LIMIT)
                name = "%s (%s)" % (case.title, case.unit) if not part else "… " + part
                lines.append("| %s | %s | %s | %s | %s |" % (name, " | ".join(cells), against, limit,
                                                            of_limit))
            if case.limit:
                notes.append("- limit of “%s”: %s" % (case.title, case.limit[0]))
        notes += ["- without %s: %s" % item for item in absent.items()]
        notes += ["- failed: %s, %s: %s" % (who, key, why)
                  for (key, who), why in self.failures.items()]
        if self.left_out:
            notes.append("- %d measurements were left out: the time was up" % self.left_out)
        return "\n".join(lines + [""] + notes)
