"""
Slow questions that pages ask.
"""

from __future__ import annotations

import threading

import pytest

from remotion_licensing_integrations._support.lookups import Lookup

PATIENCE = 10


class Question:
    """
    A question that is answered once its gate is open; each answer is the next number.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.now = 0.0
        self.takes = 0.0
        self.number = 0
        self.error: Exception | None = None

    def ask(self) -> int:
        """
        Answer.
        """
        assert self.gate.wait(PATIENCE)
        self.now += self.takes
        self.number += 1
        if self.error is not None:
            raise self.error
        return self.number

    def lookup(self) -> Lookup[int]:
        """
        Return a lookup of this question.
        """
        return Lookup(self.ask, fresh_for=2, kept_for=100, clock=lambda: self.now)


@pytest.fixture
def question():
    question = Question()
    yield question
    question.gate.set()


def test_an_answer_stands_while_it_is_fresh(question):
    """
    It is asked for once.
    """
    lookup = question.lookup()

    assert [lookup.get(PATIENCE), lookup.get(PATIENCE)] == [1, 1]


def test_an_answer_is_renewed(question):
    """
    When it is no longer fresh.
    """
    lookup = question.lookup()
    lookup.get(PATIENCE)
    question.now += 2

    assert lookup.get(PATIENCE) == 2


def test_an_answer_is_renewed_on_demand(question):
    """
    After a change that it does not know of.
    """
    lookup = question.lookup()
    lookup.get(PATIENCE)

    assert lookup.get(PATIENCE, again=True) == 2


def test_a_slow_answer_stands_longer(question):
    """
    A question that takes long is asked less often.
    """
    question.takes = 1
    lookup = question.lookup()
    lookup.get(PATIENCE)
    question.now += 9

    assert lookup.get(PATIENCE) == 1


def test_nobody_waits_longer_than_their_patience(question):
    """
    Without an answer there is none.
    """
    question.gate.clear()

    assert question.lookup().get(0) is None


def test_the_last_answer_is_better_than_none(question):
    """
    While a new one is being looked for.
    """
    lookup = question.lookup()
    lookup.get(PATIENCE)
    question.now += 50
    question.gate.clear()

    assert lookup.get(0) == 1


def test_an_old_answer_is_no_answer(question):
    """
    It could mislead.
    """
    lookup = question.lookup()
    lookup.get(PATIENCE)
    question.now += 101
    question.gate.clear()

    assert lookup.get(0) is None


def test_many_ask_at_once(question):
    """
    And the question is asked once.
    """
    question.gate.clear()
    lookup = question.lookup()
    futures = [lookup.ask(), lookup.ask(again=True)]
    question.gate.set()

    assert [future.result(PATIENCE) for future in futures] == [1, 1]


def test_an_error_is_an_answer(question):
    """
    Who asks has it.
    """
    question.error = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        question.lookup().get(PATIENCE)


def test_a_forked_child_asks_for_itself(question, monkeypatch):
    """
    The thread that the parent has asked does not run there.
    """
    lookup = question.lookup()
    question.gate.clear()
    lookup.ask()
    monkeypatch.setattr("remotion_licensing_integrations._support.lookups.os.getpid", lambda: -1)
    question.gate.set()

    assert lookup.get(PATIENCE) is not None


def test_a_system_without_threads_has_answers(question, monkeypatch):
    """
    Who asks waits for them then.
    """

    def refuse(*_, **__):
        raise RuntimeError

    monkeypatch.setattr("remotion_licensing_integrations._support.lookups.threading.Thread", refuse)

    assert question.lookup().get(0) == 1
