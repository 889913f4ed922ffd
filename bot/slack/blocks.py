"""Block Kit, through slack_sdk's own models, so that what Slack would refuse is refused here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ConfirmObject,
    ContextBlock,
    LinkButtonElement,
    MarkdownTextObject,
    PlainTextObject,
    RawTextObject,
    SectionBlock,
    TableBlock,
)

from bot.domain.message import Message
from bot.domain.promotion import Progress, Promotion, Stage, progress_of_all
from bot.render import slack as words
from bot.slack.charts import charts

APPROVE, MERGE, ROLL_BACK, OPEN = "promobot_approve", "promobot_merge", "promobot_roll_back", "promobot_open"
_SECTION_CHARACTERS = 2900
_WAY_BACK_HELPS: tuple[Stage, ...] = ("put back", "rollback failed", "failed", "held", "incomplete")
_WAYS_BACK = 5
"""Buttons for ways back in the message of several models; each way back has a message of its own, too."""


def sections(text: str) -> tuple[dict[str, Any], ...]:
    """Return a text as sections, cut between lines where it is longer than one takes."""
    parts, current = [], ""
    for line in text.split("\n"):
        if current and len(current) + len(line) + 1 > _SECTION_CHARACTERS:
            parts.append(current)
            current = ""
        current = f"{current}\n{line}" if current else line[:_SECTION_CHARACTERS]
    return tuple(_section(part).to_dict() for part in [*parts, current][:45] if part)


def promotion_message(
    promotion: Promotion, progress: Progress, *, way_back: Promotion | None, unsure: str = ""
) -> Message:
    """Return the message of a promotion; ``way_back`` is the open pull request that undoes it, where there is one.

    ``unsure`` says why its facts may be out of date.
    """
    first = words.headline(promotion, progress) + (f". {unsure}" if unsure else "")
    listed: list[Block | dict[str, Any]] = [
        _section(f"{first}\n{words.facts(promotion)}"),
        ContextBlock(elements=[MarkdownTextObject(text=words.steps(progress))]),
        *_policy(promotion, progress),
    ]
    if said := words.problem(promotion, progress):
        listed.append(_section(said))
    if promotion.metrics and progress.stage in ("checking", "green", "red"):
        listed += charts(promotion)
        listed.append(_metrics(promotion))
    listed.append(ActionsBlock(elements=_buttons(promotion, progress, way_back)))
    return Message(
        key=promotion.key,
        text=words.plain(promotion, progress) + (f". {unsure}" if unsure else ""),
        blocks=tuple(block if isinstance(block, dict) else block.to_dict() for block in listed),
        facts=promotion.facts(),
    )


def message_of_several(
    promotion: Promotion, each: Sequence[Progress], *, ways_back: Sequence[Promotion], unsure: str = ""
) -> Message:
    """Return the message of a pull request of several models; ``each`` is the progress of its parts, in their order.

    ``ways_back`` are the open pull requests that undo it for one model each, and ``unsure`` is as of one model.
    """
    progress = progress_of_all(each)
    first = words.headline_of_several(promotion, each) + (f". {unsure}" if unsure else "")
    listed: list[Block | dict[str, Any]] = [
        _section(f"{first}\n{words.facts(promotion)}"),
        ContextBlock(elements=[MarkdownTextObject(text=words.steps(progress))]),
        *_policy(promotion, progress),
    ]
    if promotion.beside and progress.stage == "red":
        listed.append(_section(words.problem(promotion, progress)))
    listed += sections(words.lines_of_several(promotion, each))
    if said := words.how_several_go_back(promotion, progress):
        listed.append(ContextBlock(elements=[MarkdownTextObject(text=said)]))
    listed.append(ActionsBlock(elements=_buttons(promotion, progress, None)))
    # A block of its own for each: within one, no two buttons may have the same name.
    waiting = [one for one, how in zip(promotion.each, each, strict=True) if how.stage in _WAY_BACK_HELPS]
    helping = [one for one in ways_back if any(one.slot == other.slot for other in waiting)]
    listed += [
        ActionsBlock(elements=[_merge(one, words.merge_way_back(one.number, one.model))])
        for one in helping[:_WAYS_BACK]
    ]
    return Message(
        key=promotion.key,
        text=words.plain_of_several(promotion, each) + (f". {unsure}" if unsure else ""),
        blocks=tuple(block if isinstance(block, dict) else block.to_dict() for block in listed),
        facts=promotion.facts(),
    )


def _policy(promotion: Promotion, progress: Progress) -> list[Block | dict[str, Any]]:
    said = words.policy(promotion, progress)
    return [ContextBlock(elements=[MarkdownTextObject(text=said)])] if said else []


def value_of(promotion: Promotion) -> str:
    """Return what a button brings back: what it is about, as it was shown."""
    shown = {"environment": promotion.environment, "number": promotion.number, "head": promotion.head}
    return json.dumps(shown | {"model": promotion.model, "version": promotion.after or 0})


def _section(text: str) -> SectionBlock:
    return SectionBlock(text=MarkdownTextObject(text=text))


def _metrics(promotion: Promotion) -> TableBlock:
    rows: list[Sequence[RawTextObject]] = [[RawTextObject(text=name) for name in words.METRICS_HEAD]]
    for metric in promotion.metrics[:20]:
        cells = (
            f"{'✅' if metric.passed else '❌'} {metric.name}",
            metric.proposed,
            metric.in_service,
            metric.change,
        )
        rows.append([RawTextObject(text=cell[:80] or "–") for cell in cells])
    return TableBlock(rows=[[cell.to_dict() for cell in row] for row in rows])


def _buttons(promotion: Promotion, progress: Progress, way_back: Promotion | None) -> list[ButtonElement]:
    found: list[ButtonElement] = [LinkButtonElement(text=words.OPEN, url=promotion.url, action_id=OPEN)]
    value = value_of(promotion)
    match progress.stage:
        case "checking":
            found.append(ButtonElement(text=words.APPROVE, action_id=APPROVE, value=value))
        case "green":
            found.append(ButtonElement(text=words.APPROVE, action_id=APPROVE, value=value))
            found.append(_merge(promotion, words.MERGE))
        case "served" | "rolling out" if promotion.section == "models" and promotion.after is not None:
            found.append(
                ButtonElement(
                    text=words.ROLL_BACK,
                    action_id=ROLL_BACK,
                    value=value,
                    style="danger",
                    confirm=_confirm(words.ROLL_BACK, words.roll_back_question(promotion)),
                )
            )
        case stage if stage in _WAY_BACK_HELPS and way_back is not None:
            found.append(_merge(way_back, words.merge_way_back(way_back.number)))
        case _:
            pass
    return found


def _merge(promotion: Promotion, text: str) -> ButtonElement:
    confirm = _confirm(words.MERGE, words.merge_question(promotion))
    return ButtonElement(text=text, action_id=MERGE, value=value_of(promotion), style="primary", confirm=confirm)


def _confirm(title: str, question: str) -> ConfirmObject:
    return ConfirmObject(
        title=PlainTextObject(text=title),
        text=PlainTextObject(text=question[:300]),
        confirm=PlainTextObject(text=words.CONFIRM),
        deny=PlainTextObject(text=words.NO),
    )
