"""Promobot: Git says which model each environment serves; the bot makes it so and proves it."""
