"""A Slack of our own: the Web API, what Slack sends to an app, and a page on which people see and act.

workspace.py      people, channels, messages and threads, kept as JSON in a directory; knows nothing of HTTP
installation.py   the app that is installed: manifest, tokens, where its requests go
slack.py          one workspace while it runs: all of this together, and ``response_url``
web_api.py        the methods: what Slack takes, answers and refuses; arguments.py, shapes.py, refusal.py
blocks.py         what Slack takes of Block Kit, as blockkit.json says
modals.py         what people have open, and the triggers that open it
people.py         what people do: type, press, choose, fill in
delivery.py       how that reaches the app: signed requests, answers within three seconds
sockets.py        Socket Mode: connections, envelopes, acknowledgements
faults.py         answers that go wrong on purpose
page.py           the workspace as a page, with templates, markup.py (text), page.css and page.js
app.py            the HTTP side of all of it
"""
