"""Names that a user types, of commands, demos, operations, mixes: suggests one for a name that is unknown."""

from __future__ import annotations

from collections.abc import Collection

import click


def unknown(kind: str, name: str, known: Collection[str], otherwise: str) -> str:
    """Says that there is none of that name, and which may be meant; if none is like it, what to do."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"no {kind} {name!r}: {f'did you mean {near[0]}?' if near else otherwise}"


class Names(click.Group):
    """A group whose members are imported when one is asked for."""

    kind: str  #: what a member is called
    known: Collection[str]
    listed_by: str

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.known)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.known and not args[0].startswith("-"):
            raise click.UsageError(unknown(self.kind, args[0], self.known, f"{self.listed_by} lists them"))
        return super().resolve_command(ctx, args)
