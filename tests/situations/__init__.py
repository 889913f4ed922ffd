"""Situations in which people look at the bot: what each surface says first, and whether it is true."""
