"""The split is repeatable, keeps the shares of the labels, and holds nothing back twice."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from trident.datasets import Dataset, Example, split


def dataset(**counts: int) -> Dataset:
    examples = [Example(f"{label} {number}", label) for label, count in counts.items() for number in range(count)]
    return Dataset(examples, sorted(counts), len(examples), 0, 0, 0, "")


def count(part: list[Example], label: str) -> int:
    return sum(example.label == label for example in part)


def test_parts_are_disjoint_and_leave_nothing_out() -> None:
    data = dataset(ham=100, spam=30)
    parts = split(data, seed=1)
    together = [*parts.train, *parts.validation, *parts.test]
    assert sorted(together, key=str) == sorted(data.examples, key=str)


@pytest.mark.parametrize(("label", "sizes"), [("ham", (720, 80, 200)), ("spam", (72, 8, 20))])
def test_each_part_has_each_labels_share(label: str, sizes: tuple[int, int, int]) -> None:
    parts = split(dataset(ham=1000, spam=100), seed=1)
    assert tuple(count(part, label) for part in (parts.train, parts.validation, parts.test)) == sizes


@pytest.mark.parametrize("size", range(3, 12))
def test_a_rare_label_is_in_every_part(size: int) -> None:
    parts = split(dataset(ham=50, rare=size), seed=1)
    assert min(count(part, "rare") for part in (parts.train, parts.validation, parts.test)) >= 1


def test_the_same_seed_gives_the_same_split() -> None:
    assert split(dataset(ham=50, spam=50), seed=7) == split(dataset(ham=50, spam=50), seed=7)


def test_another_seed_holds_other_texts_out() -> None:
    data = dataset(ham=50, spam=50)
    assert set(split(data, seed=7).test) != set(split(data, seed=8).test)


def test_labels_are_mixed_within_a_part() -> None:
    labels = [example.label for example in split(dataset(ham=50, spam=50), seed=1).train]
    assert labels not in (sorted(labels), sorted(labels, reverse=True))


def test_a_split_takes_the_labels_one_after_the_other() -> None:
    """So that a seed gives the same split whatever the order of the labels in the file."""
    data = dataset(ham=3, spam=3)
    interleaved = [data.examples[place] for place in (3, 0, 4, 1, 5, 2)]
    assert split(replace(data, examples=interleaved), seed=7) == split(data, seed=7)


def test_examples_are_looked_at_once_however_many_labels_there_are() -> None:
    class Counted(list[Example]):
        looks = 0

        def __iter__(self) -> Iterator[Example]:
            self.looks += 1
            return super().__iter__()

    data = dataset(ham=3, rare=3, spam=3)
    examples = Counted(data.examples)
    split(replace(data, examples=examples), seed=1)
    assert examples.looks == 1
