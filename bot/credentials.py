"""The secrets of a process, by the variables that settings name. Settings hold names only; values are read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bot import redaction
from bot.domain.secret_text import Kind, cleaned
from bot.errors import Refused
from bot.settings import S3


class Credentials:
    """Reads secrets from variables, which are those of the process unless a caller injects others."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def value(self, variable: str) -> str:
        """Return what the variable holds, as it is; an empty string where it is not set."""
        return self._variables.get(variable, "")

    def secret(self, variable: str, *, purpose: str, kind: Kind = "token") -> str:
        """Return the secret that the variable holds, without white space around it.

        From then on its value is blanked out of everything that the bot says or writes. Raises Refused where the
        variable is not set or holds what cannot be such a secret; the error never shows a part of it.
        """
        try:
            value = cleaned(self.value(variable), kind)
            return value if kind == "name" else redaction.keep(value)
        except ValueError as error:
            raise Refused(
                f"the environment variable {variable} {error}; it holds {purpose}",
                state="Nothing was changed.",
                next_step=f"Set {variable}; `promobot doctor` tells what works.",
            ) from None

    def of_bucket(self, store: S3, *, of: str) -> dict[str, str]:
        """Return the keys to an object store, as boto3 names them; empty where the platform knows who we are.

        ``of`` says whose keys they are. Raises Refused where a variable that the settings name is not set.
        """
        named = {
            "aws_access_key_id": (store.access_key_id_env, "the access key's id"),
            "aws_secret_access_key": (store.secret_access_key_env, "the secret access key"),
            "aws_session_token": (store.session_token_env, "the session token"),
        }
        return {
            name: self.secret(variable, purpose=f"{what} of {of}")
            for name, (variable, what) in named.items()
            if variable
        }

    def too_plain(self, variables: Iterable[str]) -> list[str]:
        """Return those of these variables whose secrets are too plain to be blanked out of texts, sorted."""
        held = {name: self.value(name).strip() for name in variables}
        return sorted(name for name, value in held.items() if value and redaction.is_too_plain(value))
