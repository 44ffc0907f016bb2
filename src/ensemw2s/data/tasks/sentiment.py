"""sentiment: is a short text positive or negative? Rated by fifteen people or more, over four domains.

Difficulty is how near people's mean rating is to zero: a fact about people, that no model had a part in.
"""

import random
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ensemw2s.config.task import TaskSettings
from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.vader import DOMAINS, IN_DOCUMENTS, RATINGS, SOURCE, TEXTS, RatedText, rated_texts, ratings_folder
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task

CHOICES = ("negative", "positive")
Domain = Literal["films", "products", "editorials", "tweets"]


class Sentiment(TaskSettings):
    name: Literal["sentiment"] = "sentiment"
    template: ClassVar[str] = "{{ text }}\nSentiment:"
    question_between: ClassVar[tuple[str, tuple[str, ...]]] = ("", ("\nSentiment:",))
    younger: ClassVar[tuple[str, ...]] = ("votes", "raters_per_item", "raters_seed")
    domains: Annotated[tuple[Domain, ...], Field(min_length=1)] = ("films", "products", "editorials", "tweets")
    path: str | None = None
    """Folder of the rating files; None is where `ensemw2s fetch sentiment` keeps them."""
    raters_per_item: Annotated[int, Field(ge=0, le=15)] = 0
    """Ratings of each text that are drawn as outside votes: `rater 1` and so on vote for the sign and abstain at 0."""
    raters_seed: int = 0
    """Of the ratings that are drawn."""

    @model_validator(mode="after")
    def _one_source(self) -> "Sentiment":
        if self.votes is not None and self.raters_per_item:
            raise ValueError("votes and raters_per_item both say who votes; leave one of them out")
        return self

    @property
    def has_votes(self) -> bool:
        return super().has_votes or self.raters_per_item > 0

    def load(self) -> Task:
        """One example per text whose mean rating is not zero; its class is the sign of the mean.

        Difficulty is the share of the domain's texts whose mean is further from zero, so that each domain is as hard as
        the others. Sentences of one product review or editorial are a group.

        Raises:
            DataError: the ratings were not fetched, or a file of them is damaged.
        """
        folder = ratings_folder() if self.path is None else Path(self.path)
        if not folder.is_dir():
            raise DataError(
                f"task sentiment: there is no folder {folder}; fetch the ratings with: ensemw2s fetch sentiment"
            )
        from ensemw2s.data.votes import VoteColumns  # which loads a tensor library, and settings must not

        examples: list[Example] = []
        votes = VoteColumns()
        for domain in dict.fromkeys(self.domains):
            rated = [text for text in rated_texts(folder, domain) if text.mean != 0]
            examples += [_example(text, d) for text, d in zip(rated, _difficulty(rated), strict=True)]
            for text in rated:
                for voter, choice in self._drawn(text):
                    votes.add(_name(text), voter, [(choice, 1.0)])
        meaning = "how near people's mean rating is to zero: the share of the domain's texts that are clearer"
        return Task(
            "sentiment",
            tuple(examples),
            CHOICES,
            SOURCE,
            meaning,
            votes=votes.table() if self.raters_per_item else None,
        )

    def _drawn(self, rated: RatedText) -> list[tuple[str, int]]:
        """Voter and class of the drawn ratings. The first raters of a text are the same whatever their number."""
        if not self.raters_per_item:
            return []
        generator = random.Random(stream_seed(self.raters_seed, "raters", _name(rated)))
        drawn = generator.sample(rated.ratings, len(rated.ratings))[: self.raters_per_item]
        return [(f"rater {k}", int(rating > 0)) for k, rating in enumerate(drawn, start=1) if rating]

    def stand_in(self) -> dict[str, str]:
        files = {}
        for domain, stem in DOMAINS.items():
            in_documents = domain in IN_DOCUMENTS
            rows = [(f"{i // 2}_{i % 2}" if in_documents else str(i), (i * 37 % 79 - 39) / 10) for i in range(1, 121)]
            lines = [f"{name}\t{m}\t{domain} text {name} is {'good' if m > 0 else 'bad'}" for name, m in rows]
            files[f"{stem}{TEXTS}"] = "\n".join(lines) + "\n"
            files[f"{stem}{RATINGS}"] = "".join(f"{name}\t{m}\t0.5\t[{round(m)}]\n" for name, m in rows)
        return files


def _difficulty(rated: list[RatedText]) -> list[float]:
    """Of each text the share of texts whose mean is further from zero."""
    order = sorted(range(len(rated)), key=lambda i: -abs(rated[i].mean))
    difficulty = [0.0] * len(rated)
    clearer = 0
    for place, i in enumerate(order):
        if place and abs(rated[i].mean) < abs(rated[order[place - 1]].mean):
            clearer = place
        difficulty[i] = clearer / len(rated)
    return difficulty


def _name(rated: RatedText) -> str:
    """Unique among all domains."""
    return f"{rated.domain}-{rated.name}"


def _example(rated: RatedText, difficulty: float) -> Example:
    return Example(
        id=_name(rated),
        group_id=f"{rated.domain}-{rated.document}",
        prompt=f"{rated.text}\nSentiment:",
        choices=CHOICES,
        answer=CHOICES[rated.mean > 0],
        difficulty=difficulty,
    )
