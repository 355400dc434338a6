"""The examples in the client's docstrings are run, and every public name has one."""

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import numpy as np
import pytest
import trident_client
from trident_client import AsyncClient, Client, Prediction, Span
from trident_client.testing import FakeServer, Received

MODULES = [
    "trident_client",
    *(found.name for found in pkgutil.iter_modules(trident_client.__path__, "trident_client.")),
]
DEFAULT = "http://127.0.0.1:8000"


def classify(text: str) -> Prediction:
    return Prediction(("spam", "ham"), (0.75, 0.25)) if "free prize" in text else Prediction(("ham",), (1.0,))


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    """The services of the examples."""
    with FakeServer() as running:
        running.add("spam", classify)
        running.add("meanings", np.array([0.0, 0.6, 0.8]))
        running.add("names", [Span("NAME", 0.99, 6, 18, "Ada Lovelace")])
        running.add("shapes", Prediction(("circle",), (1.0,)), takes="image")
        running.add("customers", Prediction(("stays",), (1.0,)), takes="record")
        running.add("houses", lambda house: 128 * house["rooms"], takes="record")
        running.add_model(
            "distances", lambda ends: {"distance": np.linalg.norm(ends["end"] - ends["start"], axis=1, keepdims=True)}
        )
        yield running


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_do_what_they_show(name: str, server: FakeServer) -> None:
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder().find(module, name):
        for example in test.examples:
            example.source = example.source.replace(DEFAULT, server.url)
        runner.run(test)
    assert runner.failures == 0
    assert runner.tries == inspect.getsource(module).count(">>> "), "not every example was found"


def has_example(thing: object) -> bool:
    return ">>>" in (inspect.getdoc(thing) or "")


def test_every_public_name_has_an_example() -> None:
    public = {name: getattr(trident_client, name) for name in trident_client.__all__}
    assert {name for name, thing in public.items() if not has_example(thing)} == set()


@pytest.mark.parametrize("kind", [Client, FakeServer])
def test_every_method_has_an_example(kind: type) -> None:
    methods = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
    assert {name for name in methods if not has_example(getattr(kind, name))} == set()
    assert has_example(Received)


def test_both_clients_have_the_same_methods_and_parameters() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            twin = getattr(AsyncClient, name)
            assert list(inspect.signature(twin).parameters) == list(inspect.signature(method).parameters), name
            assert [p.default for p in inspect.signature(twin).parameters.values()] == [
                p.default for p in inspect.signature(method).parameters.values()
            ], name
    assert inspect.signature(Client.__init__) == inspect.signature(AsyncClient.__init__)
    twins = {name for name, _ in inspect.getmembers(AsyncClient, inspect.isfunction) if not name.startswith("_")}
    assert twins == {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
