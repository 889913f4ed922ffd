"""A Slack of our own: the Web API methods that the bot uses, over HTTP, and a page that shows what people would see.

    workspace.py   channels, messages and threads, kept as JSON in a directory; knows nothing of HTTP
    web_api.py     the methods: what Slack takes, answers and refuses
    faults.py      answers that go wrong on purpose
    page.py        the workspace as a page
    app.py         the HTTP side of all of it

What people do (slash commands, buttons) and Socket Mode come in beside ``web_api``: both read and write a
:class:`~bot.sandbox.slack.workspace.Workspace`.
"""
