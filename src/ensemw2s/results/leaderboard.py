"""The typed record of a leaderboard: `leaderboard.json` is this, and the page and the tables read it."""

from ensemw2s.results import Cost, Interval, Record

BOARD_VERSION = 1


class LeaderboardTask(Record):
    """One task of a leaderboard, with the rows that methods are measured against."""

    name: str
    is_words: bool
    metric: str
    seeds: tuple[int, ...]
    n_items: int
    """Of the test that the task is judged by."""
    references: dict[str, Interval]
    """zero_shot, single (the student of one weak expert), strong_on_easy and ceiling, where there are such rows."""
    weak: str
    strong: str
    run: str
    """Its run folder, below the leaderboard's."""


class LeaderboardCell(Record):
    """One method on one task; all on the test that the task is judged by."""

    method: str
    task: str
    row: str
    accuracy: Interval
    gain: Interval
    """Minus the student of one weak expert's labels, paired."""
    distance: Interval
    """Minus the strong model on easy labels, paired."""
    distance_p: float | None
    """Of that distance, after Holm's correction for the methods of the task; None for one seed."""
    pgr: Interval | None
    """Performance gap recovered; None where it is undefined."""
    rank: Interval
    """Among the methods of the task, 1 is best; resampled with seeds and items."""
    wins: int
    """Methods that it beats in the paired test, at a false discovery rate of 5% among all pairs of the task."""
    losses: int
    cost: Cost


class LeaderboardLine(Record):
    """One method over all its tasks, each counted alike."""

    method: str
    group: str
    teacher: str
    recipe: str
    """How it is learned, in words."""
    n_tasks: int
    gain: Interval
    gain_by_form: dict[str, Interval]
    """Of the tasks that are answered by a class (`classes`), and of those answered by generation (`words`)."""
    distance: Interval
    rank: float
    """Mean over the tasks."""
    wins: int
    losses: int
    flops: float
    """Mean over the tasks."""
    is_baseline: bool
    """Needs no weak supervision."""


class LeaderboardWork(Record):
    """What the store saved."""

    experts_alone: int
    """Expert trainings, had each method been run by itself."""
    experts: int
    """Distinct ones."""
    evaluations_alone: int
    """Expert-times-example evaluations, likewise."""
    evaluations: int
    seconds: float
    """Wall clock spent on computing, over all calls."""


class Leaderboard(Record):
    schema_version: int = BOARD_VERSION
    methods: tuple[str, ...]
    tasks: tuple[LeaderboardTask, ...]
    cells: tuple[LeaderboardCell, ...]
    lines: tuple[LeaderboardLine, ...]
    """Best mean gain first; methods that not every task can have stand after those that all have."""
    work: LeaderboardWork
    missing: tuple[str, ...]
    """Tasks and seeds that the budget left undone."""
    notes: tuple[str, ...]

    def line(self, method: str) -> LeaderboardLine:
        """The line of a method. Raises KeyError."""
        for line in self.lines:
            if line.method == method:
                return line
        raise KeyError(method)
