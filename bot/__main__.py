"""``python -m bot`` is ``promobot``, run from a checkout without being installed."""

import sys

from bot.cli import main

sys.exit(main())
