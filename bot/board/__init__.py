"""The board: a page that shows every environment, for people who only look. It reads; it changes nothing."""
