"""Read the text that a person typed as a command; suggest the nearest right word for a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from bot.domain.names import CASE_NAME, MAX_VERSION
from bot.domain.nearest import nearest
from bot.render import slack as words

Name = Literal["promote", "rollback", "promotions", "bisect"]
NAMES: tuple[Name, ...] = ("promote", "rollback", "promotions", "bisect")
MANY = 50
"""Models that one command names at most: so many have a line each in the message of their pull request."""


@dataclass(frozen=True)
class Known:
    """What exists: the models of each environment that this person may name."""

    models: Mapping[str, tuple[str, ...]]
    bundles: frozenset[str] = frozenset()
    """The names of bundles, which go from one environment to the next as a whole."""
    may_be_new: Callable[[str], bool] = lambda _: False
    """Whether a word may name a model that nobody has named yet: a gate stands for it, by pattern or by default."""

    @property
    def environments(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.models)

    @property
    def every_model(self) -> tuple[str, ...]:
        """The models of all of them."""
        return tuple(sorted({model for models in self.models.values() for model in models}))


@dataclass(frozen=True)
class Propose:
    """/promote MODEL VERSION ENV: propose a registered version."""

    model: str
    version: int
    environment: str


@dataclass(frozen=True)
class ProposeMany:
    """/promote MODEL:VERSION MODEL:VERSION … ENV: propose several registered versions in one pull request."""

    versions: tuple[tuple[str, int], ...]
    environment: str


@dataclass(frozen=True)
class Promote:
    """/promote MODEL FROM TO: propose what one environment has verified to the next."""

    model: str
    source: str
    environment: str


@dataclass(frozen=True)
class RollBack:
    """/rollback MODEL ENV [VERSION] [now]; without a version, to the last one that was verified."""

    model: str
    environment: str
    version: int | None = None
    now: bool = False


@dataclass(frozen=True)
class Show:
    """/promotions [ENV] [MODEL]."""

    environment: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class ShowHistory:
    """/promotions history MODEL."""

    model: str


@dataclass(frozen=True)
class ShowShadow:
    """/promotions shadow MODEL."""

    model: str


@dataclass(frozen=True)
class Bisect:
    """/bisect MODEL ENV CASE [all]: which release began to answer a case wrong, by its name in cases/MODEL."""

    model: str
    environment: str
    case: str
    every: bool = False


@dataclass(frozen=True)
class Help:
    """help, behind any of them."""

    name: Name


@dataclass(frozen=True)
class Ask:
    """Something was left out: a form asks for it. Of several ``versions`` only the environment can be."""

    name: Literal["promote", "rollback"]
    model: str = ""
    version: int | None = None
    environment: str = ""
    versions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Wrong:
    """A word that means nothing here; ``instead`` is the whole command as it was probably meant."""

    said: str
    instead: str = ""


Command = Propose | ProposeMany | Promote | RollBack | Show | ShowHistory | ShowShadow | Bisect | Help | Ask | Wrong


_OF_ONE_MODEL: Mapping[str, Callable[[str], Command]] = {"history": ShowHistory, "shadow": ShowShadow}
"""Words behind /promotions that a model follows."""


def parse(name: Name, text: str, known: Known) -> Command:
    """Return what was meant."""
    typed = text.split()
    if [word.lower() for word in typed] in (["help"], ["?"], ["--help"]):
        return Help(name)
    reading = _Reading(name, typed, known)
    try:
        match name:
            case "promote":
                return reading.promote()
            case "rollback":
                return reading.rollback()
            case "promotions":
                return reading.promotions()
            case "bisect":
                return reading.bisect()
    except _WrongWord as wrong:
        return wrong.said


class _WrongWord(Exception):
    def __init__(self, said: Wrong) -> None:
        super().__init__(said.said)
        self.said = said


@dataclass(frozen=True)
class _Place:
    """A word, or a part of one, by the position of that word; ``before`` and ``behind`` are the rest of it."""

    position: int
    word: str
    before: str = ""
    behind: str = ""


class _Reading:
    """One command line."""

    def __init__(self, name: Name, typed: list[str], known: Known) -> None:
        self._name, self._typed, self._known = name, typed, known
        self._behind: list[str] = []

    def promote(self) -> Command:
        typed = self._typed
        if any(":" in word for word in typed):
            return self._several()
        if len(typed) < 3:
            model = self._model(0) if typed else ""
            version = self._version(1) if len(typed) > 1 and is_number(typed[1]) else None
            environment = "" if len(typed) < 2 or version is not None else self._environment(1)
            return Ask("promote", model, version, environment)
        self._no_more_than(3)
        environments = self._known.environments
        is_version = any(c.isascii() and c.isdecimal() for c in typed[1]) and not nearest(typed[1], environments)
        if typed[1] not in environments and is_version:
            return Propose(self._model(0), self._version(1), self._environment(2))
        model = typed[0] if typed[0] in self._known.bundles else self._model(0)
        source, target = self._environment(1), self._environment(2)
        if source == target:
            raise _WrongWord(Wrong(words.same_environment(source)))
        return Promote(model, source, target)

    def _several(self) -> Command:
        """Read versions as ``churn:8``, as many as there are, and an environment behind or before them."""
        named: dict[str, int] = {}
        environment = ""
        for position, word in enumerate(self._typed):
            if ":" not in word:
                if environment:
                    raise _WrongWord(Wrong(words.too_many_words(self._name, word)))
                environment = self._environment(position)
                continue
            model, version = self._pair(position)
            if model in named:
                raise _WrongWord(Wrong(words.named_twice(model)))
            named[model] = version
        if len(named) > MANY:
            raise _WrongWord(Wrong(words.too_many_models(len(named), MANY)))
        if not environment:
            ((model, version), *more) = named.items()
            return Ask("promote", versions=tuple(named.items())) if more else Ask("promote", model, version)
        if len(named) == 1:
            return Propose(*next(iter(named.items())), environment)
        return ProposeMany(tuple(named.items()), environment)

    def _pair(self, position: int) -> tuple[str, int]:
        """Read one ``churn:8``."""
        model, _, version = self._typed[position].rpartition(":")
        named = self._model(_Place(position, model, behind=f":{version}"))
        return named, self._version(_Place(position, version, before=f"{model}:"))

    def rollback(self) -> Command:
        typed = self._typed
        now = bool(typed) and typed[-1].lower().removeprefix("--") == "now"
        if now:
            self._typed, self._behind = typed[:-1], typed[-1:]
            typed = self._typed
        if len(typed) < 2:
            return Ask("rollback", self._model(0) if typed else "")
        self._no_more_than(3)
        model, environment = self._model(0), self._environment(1)
        return RollBack(model, environment, self._version(2) if len(typed) > 2 else None, now)

    def promotions(self) -> Command:
        typed = self._typed
        named = (*self._known.environments, *self._known.every_model)
        of_one = nearest(typed[0], [*_OF_ONE_MODEL]) if typed and typed[0] not in named else ""
        if of_one:
            self._no_more_than(2)
            if typed[0] != of_one:
                raise _WrongWord(self._instead(0, of_one, words.unknown_word(typed[0])))
            if len(typed) < 2:
                raise _WrongWord(Wrong(words.of_which_model(of_one, self._known.every_model)))
            return _OF_ONE_MODEL[of_one](self._model(1))
        self._no_more_than(2)
        environment = model = None
        for position, word in enumerate(typed):
            if environment is None and model is None and word in self._known.environments:
                environment = word
            elif model is None and word in self._known.every_model:
                model = word
            elif environment is None and position == 1 and word in self._known.environments:
                environment = word
            else:
                raise _WrongWord(self._wrong(position, self._every_word(), words.unknown_word(word)))
        return Show(environment, model)

    def bisect(self) -> Command:
        typed = self._typed
        every = len(typed) > 3 and typed[-1].lower().removeprefix("--") == "all"
        if every:
            self._typed, self._behind = typed[:-1], typed[-1:]
            typed = self._typed
        if len(typed) < 3:
            raise _WrongWord(Wrong(words.bisect_of_what()))
        self._no_more_than(3)
        model, environment = self._model(0), self._environment(1)
        if not CASE_NAME.fullmatch(typed[2]):
            raise _WrongWord(Wrong(words.no_case_name(typed[2])))
        return Bisect(model, environment, typed[2], every)

    def _every_word(self) -> list[str]:
        return [*self._known.environments, *self._known.every_model, *_OF_ONE_MODEL, "help"]

    def _model(self, at: int | _Place) -> str:
        place = self._place(at)
        if place.word in self._known.every_model or self._known.may_be_new(place.word):
            return place.word
        raise _WrongWord(self._wrong(place, self._known.every_model, words.no_such_model(place.word)))

    def _environment(self, at: int) -> str:
        word = self._typed[at]
        if word in self._known.environments:
            return word
        raise _WrongWord(self._wrong(at, self._known.environments, words.no_such_environment(word)))

    def _version(self, at: int | _Place) -> int:
        place = self._place(at)
        word = place.word
        if is_number(word) and 1 <= int(word) <= MAX_VERSION:
            return int(word)
        digits = "".join(c for c in word if c.isascii() and c.isdecimal())
        problem = words.no_version(word)
        if digits and digits != word and int(digits[:12]):
            raise _WrongWord(self._instead(place, str(int(digits[:9])), problem))
        raise _WrongWord(Wrong(problem))

    def _no_more_than(self, count: int) -> None:
        if len(self._typed) > count:
            raise _WrongWord(Wrong(words.too_many_words(self._name, self._typed[count])))

    def _place(self, at: int | _Place) -> _Place:
        return _Place(at, self._typed[at]) if isinstance(at, int) else at

    def _wrong(self, at: int | _Place, possible: Collection[str], problem: str) -> Wrong:
        found = nearest(self._place(at).word, possible)
        if found:
            return self._instead(at, found, problem)
        return Wrong(f"{problem} {words.there_is(sorted(possible))}")

    def _instead(self, at: int | _Place, word: str, problem: str) -> Wrong:
        place = self._place(at)
        right = f"{place.before}{word}{place.behind}"
        meant = [*self._typed[: place.position], right, *self._typed[place.position + 1 :], *self._behind]
        return Wrong(problem, f"/{self._name} {' '.join(meant)}")


def is_number(word: str) -> bool:
    """Whether a word can be a version."""
    return word.isascii() and word.isdecimal() and len(word) <= 10
