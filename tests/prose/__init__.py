"""How we write, as far as a program can tell: ``python -m tests.prose`` lists every place with a better wording."""
