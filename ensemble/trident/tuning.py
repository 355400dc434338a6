"""The search for the best settings: measures candidates until the time is over, then decides in interleaved rounds.

It knows nothing of servers; `measure` does the work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from trident.candidates import Candidate, Machine, stages

FINALISTS = 2  # beside the untuned one
ROUNDS = 2
LEAST_GAIN = 0.05


class Refused(Exception):
    """A candidate cannot be used; the message says why."""


@dataclass(frozen=True)
class Figures:
    """What was measured of one candidate.

    Attributes:
        throughput: requests a second with all callers.
        p99_ms: latency with all callers.
        alone_ms: median latency of a lone caller.
    """

    throughput: float
    p99_ms: float
    alone_ms: float


@dataclass(frozen=True)
class Goal:
    """What is best.

    Attributes:
        latency: the lowest median latency of a lone caller; else the highest throughput of all callers.
        p99_ms: latency that all callers bear; None: any.
        concurrency: how many callers.
    """

    latency: bool
    p99_ms: float | None
    concurrency: int

    def keeps(self, figures: Figures) -> bool:
        """Whether a candidate stays within the latency that callers bear."""
        return self.p99_ms is None or figures.p99_ms <= self.p99_ms

    def value(self, figures: Figures) -> float:
        """Higher is better."""
        return 1 / figures.alone_ms if self.latency else figures.throughput

    def rank(self, figures: Figures) -> tuple[bool, float]:
        """Sorts candidates, the best last; among those that callers do not bear, the one that is nearest."""
        kept = self.keeps(figures)
        return kept, self.value(figures) if kept else -figures.p99_ms

    def gain(self, figures: Figures, other: Figures) -> float:
        """How much better one is than another, 0.2 for a fifth; of two that callers do not bear, by their p99."""
        if self.keeps(figures) or self.keeps(other):
            return self.value(figures) / self.value(other) - 1
        return other.p99_ms / figures.p99_ms - 1


@dataclass
class Trial:
    """A candidate and what became of it.

    Attributes:
        candidate: the settings.
        explored: the figures of the search; None if it was refused.
        refused: why it cannot be used; empty if it can.
        rounds: the figures of the rounds that decide, of finalists.
    """

    candidate: Candidate
    explored: Figures | None = None
    refused: str = ""
    rounds: list[Figures] = field(default_factory=list)

    @property
    def figures(self) -> Figures:
        """The medians of the rounds; of no finalist, what the search found."""
        found = self.rounds or ([self.explored] if self.explored else [])
        return Figures(
            median(figures.throughput for figures in found),
            median(figures.p99_ms for figures in found),
            median(figures.alone_ms for figures in found),
        )


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        trials: all that was measured, the untuned first.
        best: the winner of the rounds, which may be the untuned.
        gains: of the best over the untuned, one a round; without rounds, that of the search.
        skipped: kinds of settings that there was no time for.
        sure: whether the rounds were held.
    """

    trials: list[Trial]
    best: Trial
    gains: list[float]
    skipped: list[str]
    sure: bool

    @property
    def untuned(self) -> Trial:
        """The service as it was."""
        return self.trials[0]

    def pays(self, goal: Goal) -> bool:
        """Whether the best is worth a change, by its worst round: a busy minute must not make the decision."""
        if self.best is self.untuned or not self.sure:
            return False
        mended = goal.keeps(self.best.figures) and not goal.keeps(self.untuned.figures)
        return mended or min(self.gains) >= LEAST_GAIN


class Search:
    """One search; the trials are there as they come, so that an interrupted one can be told of."""

    def __init__(
        self,
        measure: Callable[[Candidate], Figures],
        goal: Goal,
        machine: Machine,
        clock: Callable[[], float],
        seconds: float,
        on_trial: Callable[[Trial, Figures | None], object],
    ) -> None:
        """Nothing is measured yet.

        Args:
            measure: measures a candidate; raises `Refused` if it cannot be used.
            goal: what is best.
            machine: to run on.
            clock: seconds that pass.
            seconds: that the search may take; the untuned and one candidate are measured anyhow.
            on_trial: is told of each measurement as it is made.
        """
        self.trials: list[Trial] = []
        self._measure = measure
        self._goal = goal
        self._machine = machine
        self._clock = clock
        self._end = clock() + seconds
        self._on_trial = on_trial
        self._took_s: list[float] = []

    def run(self, start: Candidate) -> Outcome:
        """Find the best settings.

        Raises:
            Refused: the service as it is cannot be measured.
        """
        untuned = self._explore(start)
        if untuned.refused:
            raise Refused(untuned.refused)
        skipped = self._explore_stages(start)
        finalists = [untuned, *self._ranked()[:FINALISTS]]
        if len(finalists) > 1 and self._has_time_for(ROUNDS * len(finalists)):
            self._hold_rounds(finalists)
        usable = [untuned, *(trial for trial in finalists[1:] if not trial.refused)]
        best = max(usable, key=lambda trial: (self._goal.keeps(trial.figures), min(self._gains(trial, untuned))))
        sure = len(best.rounds) == len(untuned.rounds) == ROUNDS
        return Outcome(self.trials, best, self._gains(best, untuned), skipped, sure)

    def _explore_stages(self, start: Candidate) -> list[str]:
        """One kind of setting after the other, each on top of the best so far; returns those left out."""
        skipped = []
        asking = stages(start, self._machine, 1 if self._goal.latency else self._goal.concurrency)
        name, candidates = next(asking)
        while True:
            for candidate in candidates:
                if any(trial.candidate == candidate for trial in self.trials):
                    continue
                if len(self.trials) > 1 and not self._has_time_for(1 + ROUNDS * self._finalists(1)):
                    skipped.append(name)
                    break
                self._explore(candidate)
            try:
                name, candidates = asking.send(self._best().candidate)
            except StopIteration:
                return skipped

    def _explore(self, candidate: Candidate) -> Trial:
        trial = Trial(candidate)
        trial.explored = self._try(trial)
        self.trials.append(trial)
        self._on_trial(trial, trial.explored)
        return trial

    def _hold_rounds(self, finalists: Sequence[Trial]) -> None:
        """All finalists one after the other, again and again, so that a busy minute hits none alone."""
        for _ in range(ROUNDS):
            for trial in finalists:
                if trial.refused:
                    continue
                figures = self._try(trial)
                trial.rounds += [figures] if figures else []
                self._on_trial(trial, figures)

    def _try(self, trial: Trial) -> Figures | None:
        began = self._clock()
        try:
            figures = self._measure(trial.candidate)
        except Refused as error:
            trial.refused = str(error)
            return None
        self._took_s.append(self._clock() - began)
        return figures

    def _finalists(self, more: int) -> int:
        """How many would take turns if so many more candidates could be used."""
        return 1 + min(FINALISTS, len(self._ranked()) + more)

    def _has_time_for(self, measurements: int) -> bool:
        longest_s = max(self._took_s)  # refused ones say nothing of others
        return self._clock() + measurements * longest_s <= self._end

    def _ranked(self) -> list[Trial]:
        """All but the untuned that can be used, the best first."""
        usable = [trial for trial in self.trials[1:] if not trial.refused]
        return sorted(usable, key=lambda trial: self._goal.rank(trial.figures), reverse=True)

    def _best(self) -> Trial:
        return max([self.trials[0], *self._ranked()], key=lambda trial: self._goal.rank(trial.figures))

    def _gains(self, trial: Trial, untuned: Trial) -> list[float]:
        """Round by round, since what slows one candidate down slows the next, too."""
        if not trial.rounds or not untuned.rounds:
            return [self._goal.gain(trial.figures, untuned.figures)]
        return [self._goal.gain(*pair) for pair in zip(trial.rounds, untuned.rounds, strict=False)]
