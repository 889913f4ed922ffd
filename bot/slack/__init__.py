"""The Slack app: slash commands, buttons and forms, each of which ends in a verb; and one thread for each promotion.

guard.py      in front of Bolt: only what Slack has signed, just now, gets through
app.py        Bolt's listeners: write what was asked into the inbox, acknowledge
inbox.py      what was asked and what was answered, on disk; one replica works on one entry
commands.py   words to a typed command; the nearest right word for a wrong one
people.py     who may do what
worker.py     takes entries from the inbox, does them, answers
doing.py      one command: the verb, and what to answer
forms.py      modals, for what was left out
follow.py     the message of each promotion, as it ought to be by now
attention.py  one message of what waits for somebody: held for long, drifted, not delivered
blocks.py     Block Kit, through slack_sdk's own validation
service.py    all of it together: under HTTP, mounted, or in Socket Mode

slack = SlackService(Path("."))
app.include_router(slack.router)            # brings its own start and stop along
"""

from bot.slack.service import SlackService

__all__ = ["SlackService"]
