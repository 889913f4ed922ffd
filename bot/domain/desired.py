"""Desired state: ``promotions/<env>.yaml``, read strictly and edited without disturbing anybody's lines.

An edit replaces the tokens that change and nothing else, so comments, order and line endings survive, and two pull
requests for neighbouring models merge in either order. Git calls it a conflict when two changes touch, so between any
two there must be a line that neither changes: between updates that is the neighbour's own key line, and for what is
added or taken out it is the blank line that the bot leaves behind each entry it writes. A new entry goes where there
is such a line, as near to its place in the alphabet as that allows; else to the beginning of its section. Two that
come into the same place, or before an entry that goes, still conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bot.domain import yamltext
from bot.domain.bundle import ONLY_WHERE_GIVEN, Bundle, is_not_given
from bot.domain.names import Digest, EnvironmentName, ModelName, RunId, Version
from bot.domain.release import Release, Slot
from bot.domain.routes import WHOLE
from bot.domain.yamltext import Node
from bot.errors import InvalidInput

Section = Literal["models", "shadow"]
SECTIONS: tuple[Section, ...] = ("models", "shadow")
Part = Literal["models", "shadow", "retired"]


class Entry(BaseModel):
    """One version of one model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Version = Field(description="MLflow registered model version")
    digest: Digest = Field(description="sha256 of the package's list of files")
    run: RunId = Field(description="MLflow run the version came from")
    reason: str = Field(
        default="", max_length=500, description="why a model is on the shadow path; in shadow entries only"
    )
    share: float | None = Field(
        default=None,
        ge=0.01,
        le=1,
        description="the share of requests of which a shadow gets a copy, in hundredths; all without it; in shadow "
        "entries only",
        exclude_if=is_not_given,
        json_schema_extra=ONLY_WHERE_GIVEN,
    )

    @classmethod
    def of(cls, release: Release) -> Entry:
        """Return the entry that names this release."""
        return cls(version=release.version, digest=release.digest, run=release.run)

    def in_slot(self, slot: Slot) -> Release:
        """Return the release that this entry names there. It leaves out why a shadow listens."""
        return Release(slot, self.version, self.digest, self.run)

    @property
    def percent(self) -> int:
        """The percentage of requests of which a shadow gets a copy."""
        return WHOLE if self.share is None else round(self.share * WHOLE)

    def names_the_same_as(self, other: Entry) -> bool:
        """Whether both name the same version, digest and run. A shadow's reason and share say nothing about these."""
        return (self.version, self.digest, self.run) == (other.version, other.digest, other.run)


KnownEntries = Mapping[tuple[str, int, str], Entry]
"""Entries by model, version and digest: two models may have the same bytes, from two runs."""


def _nothing_is_empty(value: object) -> object:
    return {} if value is None else value


Entries = Annotated[
    dict[ModelName, Entry],
    BeforeValidator(_nothing_is_empty, json_schema_input_type=dict[ModelName, Entry] | None),
]


class Retirement(BaseModel):
    """A model that is to leave service, and why: without it, an entry that is gone takes nothing out of service."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reason: str = Field(min_length=1, max_length=500, description="why the model is taken out of service")


Retirements = Annotated[
    dict[ModelName, Retirement],
    BeforeValidator(_nothing_is_empty, json_schema_input_type=dict[ModelName, Retirement] | None),
]


class Desired(BaseModel):
    """What one environment shall serve: ``promotions/<env>.yaml`` at the head of main."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, title="promotions/<env>.yaml")

    environment: EnvironmentName = Field(description="name of the environment; the file's own name")
    models: Entries = Field(default_factory=dict, description="what answers, by model name")
    shadow: Entries = Field(
        default_factory=dict, description="what receives copies of requests and answers nobody, by model name"
    )
    retired: Retirements = Field(
        default_factory=dict, description="what is taken out of service, by model name; has no entry in models"
    )

    def section(self, section: Section) -> Mapping[str, Entry]:
        """Return the entries of ``models`` or ``shadow``."""
        return self.models if section == "models" else self.shadow

    def having(self, section: Section, model: str, entry: Entry) -> Desired:
        """Return the same with this entry set; what answers is not retired."""
        update: dict[str, object] = {section: {**self.section(section), model: entry}}
        if section == "models":
            update["retired"] = {name: one for name, one in self.retired.items() if name != model}
        return self.model_copy(update=update)

    def why_retired(self, section: Section, model: str) -> str:
        """Return why the file takes a model out of service; empty where it does not."""
        retirement = self.retired.get(model) if section == "models" else None
        return retirement.reason if retirement else ""

    def names(self) -> list[str]:
        """Return the names of all models that have an entry of either kind, sorted."""
        return sorted({*self.models, *self.shadow})


@dataclass(frozen=True)
class Change:
    """One entry that differs between two desired states; None where there is none.

    ``retired`` is why the model is to leave service, as the file says; empty where the file does not say that.
    ``bundle`` is what it is a part of as it is to be, and ``left`` as it was before; None for a model alone.
    """

    environment: str
    section: Section
    model: str
    before: Entry | None
    after: Entry | None
    retired: str = ""
    bundle: Bundle | None = None
    left: Bundle | None = None

    @property
    def judged_digest(self) -> str:
        """The digest that is verified and quarantined: of the whole bundle, or of the package; empty for nothing."""
        if self.bundle is not None:
            return self.bundle.digest if self.bundle.parts else ""
        return self.after.digest if self.after else ""

    @property
    def slot(self) -> Slot:
        """The place that changes."""
        return Slot.of(self.environment, self.model, self.section)

    @property
    def release(self) -> Release | None:
        """The release that is asked for; None where the place is to be empty."""
        return self.after.in_slot(self.slot) if self.after else None

    @property
    def champion(self) -> Entry | None:
        """The version that the gate compares with, which would be replaced; a shadow replaces nobody."""
        return self.before if self.section == "models" else None


def path_of(environment: str) -> str:
    """Return the path of the environment's desired state in the repository."""
    return f"promotions/{environment}.yaml"


def environment_of(path: str) -> str:
    """Return the environment that a path would be the desired state of, where :func:`path_of` gives that path."""
    return path.removeprefix("promotions/").removesuffix(".yaml")


def parse(text: str, *, file: str, environment: str | None = None) -> Desired:
    """Read ``promotions/<env>.yaml``; raise InvalidInput with file, line and key for what is wrong."""
    return _parse(text, file=file, environment=environment)[1]


def _parse(text: str, *, file: str, environment: str | None = None) -> tuple[Node, Desired]:
    node = yamltext.read(text, file=file)
    if not isinstance(node.value, dict):
        raise InvalidInput("is not a mapping; it needs at least 'environment: NAME'", file=file, line=node.span.line)
    desired = yamltext.validate(node, Desired, file=file)
    if environment is not None and desired.environment != environment:
        raise InvalidInput(
            f"says {desired.environment!r}, but the file is that of {environment!r}",
            file=file,
            line=node.line_at(("environment",)),
            key="environment",
        )
    for model, entry in desired.models.items():
        for key in ("reason", "share"):
            if getattr(entry, key):
                line = node.line_at(("models", model, key))
                raise InvalidInput("only a shadow has one", file=file, line=line, key=f"models.{model}.{key}")
        if model in desired.retired:
            raise InvalidInput(
                "also has an entry in models; a model either answers or is retired",
                file=file,
                line=node.line_at(("retired", model)),
                key=f"retired.{model}",
                next_step=f"Remove retired.{model} to serve the model, or models.{model} to take it out of service.",
            )
    return node, desired


def changes(before: Desired, after: Desired) -> list[Change]:
    """Return the entries that differ, by section and name; also where only the mark of retirement does."""
    return [
        Change(after.environment, section, model, old.get(model), new.get(model), after.why_retired(section, model))
        for section in SECTIONS
        for old, new in [(before.section(section), after.section(section))]
        for model in sorted({*old, *new, *before.retired, *after.retired})
        if old.get(model) != new.get(model)
        or (model not in new and before.why_retired(section, model) != after.why_retired(section, model))
    ]


def with_entry(text: str, *, file: str, section: Section, model: str, entry: Entry | None) -> str:
    """Return ``text`` with this entry set, or removed where ``entry`` is None; nothing else changes.

    What is put into ``models`` loses its mark of retirement. Removing an entry does not set one:
    :func:`with_retirement` does both. Raises InvalidInput where the file is wrong, or is written in a way that cannot
    be edited line by line.
    """
    if section == "models" and entry is not None:
        text = _with(text, file, "retired", model, None)
    return _with(text, file, section, model, entry)


def with_retirement(text: str, *, file: str, model: str, reason: str) -> str:
    """Return ``text`` with the model taken out of ``models`` and marked as retired; raises as :func:`with_entry`."""
    text = _with(text, file, "models", model, None)
    return _with(text, file, "retired", model, Retirement(reason=reason))


def _with(text: str, file: str, part: Part, model: str, wanted: Entry | Retirement | None) -> str:
    node, desired = _parse(text, file=file)
    there: Mapping[str, Entry | Retirement] = getattr(desired, part)
    if there.get(model) == wanted:
        return text
    edit = _Edit(text, file)
    holder = node.value.get(part)
    if wanted is None:
        edited = edit.remove(holder, model)
    elif holder is not None and isinstance(holder.value, dict) and model in holder.value:
        edited = edit.replace(holder, model, wanted)
    else:
        edited = edit.insert(node, part, model, wanted)
    expected = dict(there)
    expected.pop(model, None)
    if wanted is not None:
        expected[model] = wanted
    if not _reads(edited, desired.model_copy(update={part: expected}), file):
        raise InvalidInput(
            "cannot be edited safely",
            file=file,
            line=node.line_at((part, model)),
            key=f"{part}.{yamltext.shown(model)}",
            next_step="Write the entry in block style, one key a line, and try again.",
        )
    return edited


def _reads(text: str, expected: Desired, file: str) -> bool:
    try:
        return parse(text, file=file) == expected
    except InvalidInput:
        return False


def _values(entry: Entry | Retirement) -> dict[str, str]:
    if isinstance(entry, Retirement):
        return {"reason": _token(entry.reason)}
    values = {"version": str(entry.version), "digest": entry.digest, "run": _token(entry.run)}
    if entry.reason:
        values["reason"] = _token(entry.reason)
    if entry.share is not None:
        values["share"] = f"{entry.share:g}"
    return values


def _token(text: str) -> str:
    # Double quotes escape everything that could end or change a scalar.
    if not yamltext.needs_quotes(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


class _Edit:
    """Edits of one text by offsets; each returns the new text."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.newline = "\r\n" if "\r\n" in text else "\n"

    def replace(self, holder: Node, model: str, entry: Entry | Retirement) -> str:
        node, values = holder.value[model], _values(entry)
        pieces: list[tuple[int, int, str]] = []
        for key, child in node.value.items():
            if key not in values:
                pieces.append(self._out_of_flow(node, key) if node.flow else self._line_of(node, key, child))
            elif child.value != getattr(entry, key):
                # A block scalar ends behind its line.
                end = self.newline if self.text[child.span.start : child.span.end].endswith("\n") else ""
                pieces.append((child.span.start, child.span.end, values[key] + end))
        missing = [key for key in values if key not in node.value]
        if missing:
            last_key, last = list(node.value.items())[-1]
            if node.flow:
                added = "".join(f", {key}: {values[key]}" for key in missing)
                pieces.append((last.span.end, last.span.end, added))
            else:
                indent = self._indent(node.keys[last_key].start)
                end_of_entry = self._line_end(last.span.end)
                added = "".join(f"{indent}{key}: {values[key]}{self.newline}" for key in missing)
                pieces.append((end_of_entry, end_of_entry, self._opening(end_of_entry) + added))
        return self._apply(pieces)

    def insert(self, root: Node, section: Part, model: str, entry: Entry | Retirement) -> str:
        holder = root.value.get(section)
        if holder is None:
            at = len(self.text)
            if not self._is_blank(self._line_start(at - 1)):
                at = self._line_end(root.value["environment"].span.end)
            return self._insert_at(at, f"{section}:{self.newline}" + self._block(model, entry))
        if not holder.value:
            # `models: {}` or `models:` and nothing: the block begins on the line after the key.
            at = self._line_end(max(root.keys[section].end, holder.span.end))
            start = len(self.text[: holder.span.start].rstrip(" "))
            added = (at, at, self._opening(at) + self._block(model, entry) + self._closing(at))
            return self._apply([(start, holder.span.end, ""), added] if self._written(holder) else [added])
        if holder.flow:
            last = list(holder.value.values())[-1]
            flow = ", ".join(f"{key}: {value}" for key, value in _values(entry).items())
            return self._apply([(last.span.end, last.span.end, f", {_token(model)}: {{{flow}}}")])
        indent = self._indent(next(iter(holder.keys.values())).start)
        gaps = [self._gap_behind(node) for name, node in holder.value.items() if name < model]
        found = [gap for gap in gaps if gap is not None]
        at = found[-1] if found else self._line_end(root.keys[section].end)
        return self._insert_at(at, self._block(model, entry, indent))

    def remove(self, holder: Node, model: str) -> str:
        if holder.flow:
            return self._apply([self._out_of_flow(holder, model)])
        start = self._line_start(holder.keys[model].start)
        end = self._line_end(self._last_offset(holder.value[model]))
        # One blank line behind stays: it keeps this change apart from one of the next entry.
        if self._is_blank(end) and self._is_blank(following := self._line_end(end + 1)):
            end = following
        return self._apply([(start, end, "")])

    def _insert_at(self, offset: int, block: str) -> str:
        return self._apply([(offset, offset, self._opening(offset) + block + self._closing(offset))])

    def _gap_behind(self, node: Node) -> int | None:
        """Return the offset behind the blank line that follows an entry and its comments; None without one."""
        offset = self._line_end(self._last_offset(node))
        while offset < len(self.text):
            if self._is_blank(offset):
                return self._line_end(offset + 1)
            if not self._line_at(offset).startswith("#"):
                return None
            offset = self._line_end(offset + 1)
        return None

    def _out_of_flow(self, holder: Node, key: str) -> tuple[int, int, str]:
        """Return the piece that takes ``key`` out of a flow mapping, with one comma."""
        keys = list(holder.value)
        at = keys.index(key)
        start, end = holder.keys[key].start, holder.value[key].span.end
        if at > 0:
            start = holder.value[keys[at - 1]].span.end
        elif len(keys) > 1:
            end = holder.keys[keys[1]].start
        # Somebody's comment would go, too.
        return (0, 0, "") if "#" in self.text[start : holder.keys[key].start] else (start, end, "")

    def _block(self, model: str, entry: Entry | Retirement, indent: str = "  ") -> str:
        lines = [f"{indent}{_token(model)}:"]
        lines += [f"{indent}{indent}{key}: {value}" for key, value in _values(entry).items()]
        return "".join(line + self.newline for line in lines)

    def _line_of(self, node: Node, key: str, child: Node) -> tuple[int, int, str]:
        return (self._line_start(node.keys[key].start), self._line_end(child.span.end), "")

    def _last_offset(self, node: Node) -> int:
        # A block mapping's own end lies behind the comments that follow it, so ask its last scalar.
        while isinstance(node.value, dict) and node.value and not node.flow:
            node = list(node.value.values())[-1]
        return node.span.end

    def _indent(self, offset: int) -> str:
        return self.text[self._line_start(offset) : offset]

    def _line_start(self, offset: int) -> int:
        return self.text.rfind("\n", 0, offset) + 1

    def _line_end(self, offset: int) -> int:
        """Return the offset behind the line that holds the character before ``offset``."""
        found = self.text.find("\n", max(offset - 1, 0))
        return len(self.text) if found < 0 else found + 1

    def _line_at(self, offset: int) -> str:
        return self.text[offset : self._line_end(offset + 1)].strip()

    def _is_blank(self, offset: int) -> bool:
        """Say whether the line that begins at ``offset`` is there and empty."""
        return 0 <= offset < len(self.text) and not self._line_at(offset)

    def _written(self, node: Node) -> bool:
        return node.span.end > node.span.start

    def _closing(self, offset: int) -> str:
        """Return the blank line that an entry ends with, unless there is one at ``offset`` already."""
        return "" if self._is_blank(offset) else self.newline

    def _opening(self, offset: int) -> str:
        return "" if offset == 0 or self.text[offset - 1] == "\n" else self.newline

    def _apply(self, pieces: list[tuple[int, int, str]]) -> str:
        text = self.text
        for start, end, new in sorted(pieces, reverse=True):
            text = text[:start] + new + text[end:]
        return text
