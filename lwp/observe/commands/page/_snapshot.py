"""What the live page is told of one moment, out of the answer to `dump`.

That is who waits for whom and for what, the groups and their tasks, and one thread's stack and locks.  Lists and texts
have bounded lengths.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice, pairwise
from typing import Any

from ...telling import stack_lines
from ..trace._layout import cut

_LONGEST = 200  # letters of a text
_MOST = 200  # nodes, rows of a table, tasks of a group, lines of a stack

Facts = dict[str, Any]


def _short(text: str) -> str:
    return cut(text, _LONGEST)


def _thing(wait: Facts) -> str:
    """What is waited for, without its holder."""
    return _short(f"{wait['kind']} {wait['called']}") if wait["called"] else _short(wait["for"])


def _does(crowd: Facts) -> str:
    return _short(f"waits for {crowd['wait']['for']}" if crowd["wait"] else crowd["state"])


def moment(dump: Facts) -> Facts:
    """What the page shows of all threads."""
    everybody = (thread for crowd in dump["crowds"] for thread in crowd["threads"])
    circles = [circle for circle in dump["circles"] + dump["lost"] + dump["pools"] if circle["deadlock"]]
    return {
        "main": next((thread for thread in everybody if thread["tid"] == dump["pid"]), None),
        "deadlocks": [cut(circle["text"], _MOST * 10) for circle in circles[:10]],
        "without": dump.get("without", ""),
        "graph": _graph(dump["crowds"], {ident for circle in circles for ident in circle["idents"]}),
        "waits": _table(dump["crowds"], dump["now"]),
        "groups": _groups(dump["crowds"]),
        "cancellations": [_short(f"{one['whom']}: {one['why']}") for one in dump["cancellations"]],
    }


# ---- who waits for whom ----------------------------------------------------------------------------------------------


def _graph(crowds: list[Facts], in_circles: set[int]) -> Facts:
    """A node for each thread that is waited for, and one for all others that wait for the same thing."""
    held = [crowd for crowd in crowds if crowd["wait"] and crowd["wait"]["holder_ident"]]
    awaited = {crowd["wait"]["holder_ident"] for crowd in held} | in_circles
    nodes: dict[str, Facts] = {}
    edges: dict[tuple[str, str], Facts] = {}
    for crowd in crowds:
        for thread in crowd["threads"]:
            if thread["ident"] in awaited:
                nodes[f"t{thread['ident']}"] = {
                    "label": _short(thread["name"]),
                    "about": _does(crowd),
                    "ident": thread["ident"],
                    "circle": thread["ident"] in in_circles,
                }
    for crowd in held:
        wait = crowd["wait"]
        holder = f"t{wait['holder_ident']}"
        for thread in crowd["threads"]:
            source = f"t{thread['ident']}" if thread["ident"] in awaited else f"w{wait['address']}"
            node = nodes.setdefault(
                source, {"about": _does(crowd), "ident": thread["ident"], "count": 0, "circle": False}
            )
            if "count" in node:
                node["count"] += 1
                node["label"] = _short(thread["name"]) if node["count"] == 1 else f"{node['count']:,} threads"
            circle = {thread["ident"], wait["holder_ident"]} <= in_circles
            edges[source, holder] = {"from": source, "to": holder, "label": _thing(wait), "circle": circle}
    shown = dict(islice(sorted(nodes.items(), key=lambda item: not item[1]["circle"]), _MOST))
    return {
        "nodes": shown,
        "edges": [edge for (source, target), edge in edges.items() if source in shown and target in shown],
        "left": len(nodes) - len(shown),
    }


def _table(crowds: list[Facts], now: float) -> Facts:
    """A row for each thing that threads wait for."""
    by_thing: dict[int, list[Facts]] = defaultdict(list)
    for crowd in crowds:
        if crowd["wait"]:
            by_thing[crowd["wait"]["address"]].append(crowd)
    rows = []
    for alike in by_thing.values():
        first = min((crowd["wait"] for crowd in alike), key=lambda wait: float(wait["since"]))
        threads = sum(len(crowd["threads"]) for crowd in alike)
        holder, taken = _short(first["holder"] or ""), _short(first["taken"])
        rows.append([_thing(first), threads, round(now - first["since"], 1), holder, taken])
    rows.sort(key=lambda row: -row[2])
    columns = ["waited for", "threads", "longest, s", "held by", "taken at"]
    return {"columns": columns, "rows": rows[:_MOST], "left": max(0, len(rows) - _MOST)}


def locks_table(facts: Facts) -> Facts:
    """A row for each thing that threads have waited for, since they have been counted."""
    rows = []
    for lock in facts["locks"]:
        waits, holds = lock["waits"], lock["holds"] or {}
        if waits["count"]:
            times = (round(1000 * each, 3) if each is not None else "" for each in (waits["p99"], holds.get("longest")))
            rows.append([_short(lock["name"]), round(waits["seconds"], 3), waits["count"], waits["now"], *times])
    columns = ["waited for", "waited, s", "waits", "now", "p99, ms", "longest hold, ms"]
    return {"columns": columns, "rows": rows[:_MOST], "left": max(0, len(rows) - _MOST)}


# ---- groups ----------------------------------------------------------------------------------------------------------


def _groups(crowds: list[Facts]) -> list[Facts]:
    """The groups that are in no other, each with its threads and with the groups that these have begun.

    Groups that begin at the same line count as one.
    """
    threads: dict[str, list[Facts]] = defaultdict(list)
    inside: dict[str, set[str]] = defaultdict(set)
    for crowd in crowds:
        path = crowd["groups"]
        for outer, inner in pairwise(path):
            inside[outer].add(inner)
        for group in path[-1:]:
            told = {"does": _does(crowd), "cancelled": _short(crowd["cancelled"])}
            threads[group] += ({"name": _short(thread["name"]), **told} for thread in crowd["threads"])

    def tell(group: str, above: frozenset[str]) -> Facts:
        below = [tell(each, above | {group}) for each in sorted(inside[group] - above - {group})]
        count, told = len(threads[group]), threads[group][:_MOST]
        return {"label": _short(group), "count": count, "threads": told, "groups": below}

    inner = set[str]().union(*inside.values())
    return [tell(group, frozenset()) for group in {**threads, **inside} if group not in inner][:_MOST]


# ---- one thread ------------------------------------------------------------------------------------------------------


def about_thread(dump: Facts, ident: int) -> Facts:
    """What a thread does, its stack, and what others wait for that it holds; the values are empty if there is none."""
    for crowd in dump["crowds"]:
        for thread in crowd["threads"]:
            if thread["ident"] == ident:
                holds = {
                    _short(_thing(wait) + (f", taken at {wait['taken']}" if wait["taken"] else "")): None
                    for wait in (other["wait"] for other in dump["crowds"])
                    if wait and wait["holder_ident"] == thread["ident"] and wait["kind"] not in ("join", "group")
                }
                stack = [_short(line) for line in islice(stack_lines(crowd["stack"]), _MOST)]
                return {"does": _does(crowd), "group": crowd["group"], "holds": list(holds), "stack": stack}
    return {"does": "", "group": "", "holds": [], "stack": []}
