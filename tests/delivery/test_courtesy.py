"""
Delivery gives way to requests, by the CPU time of its process.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from remotion_licensing_integrations.delivery.courtesy import SHARE, SHARE_BEHIND, Courtesy


@dataclass
class Process:
    """
    A process under the test's clock.
    """

    now: float = 0.0
    cpu: float = 0.0
    delivery: float = 0.0

    def __post_init__(self) -> None:
        self.courtesy = Courtesy(clock=lambda: self.now, cpu=lambda: self.cpu)

    def wait(self, seconds: float, *, app: float, delivery: float, is_behind: bool = False) -> float:
        """
        Let *seconds* pass in which app and delivery take such shares of a core, and return what delivery waits.
        """
        self.now += seconds
        self.cpu += (app + delivery) * seconds
        self.delivery += delivery * seconds
        return self.courtesy.wait(self.delivery, is_behind=is_behind)

    def share(self, *, is_behind: bool) -> float:
        """
        Return the share of a core that delivery takes of ten seconds in which the app takes all that is left.
        """
        began, spent = self.now, self.delivery
        while self.now < began + 10:
            wait = self.wait(0.01, app=0.3, delivery=0.7, is_behind=is_behind)
            self.now += wait
            self.cpu += wait
        return (self.delivery - spent) / (self.now - began)


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.mark.parametrize(
    ("app", "delivery"), [(0.0, 0.0), (0.0, 1.0), (0.01, 0.99), (0.3, 0.2)], ids=["idle", "alone", "nearly", "light"]
)
def test_no_wait_without_a_load(process, app, delivery) -> None:
    """
    Where nothing else wants the core, delivery takes it.
    """
    assert {process.wait(0.02, app=app, delivery=delivery) for _ in range(20)} == {0.0}


@pytest.mark.parametrize(("is_behind", "share"), [(False, SHARE), (True, SHARE_BEHIND)])
def test_share_of_a_busy_process(process, is_behind, share) -> None:
    """
    While the app wants the core, delivery takes its share of it, and half when it has fallen too far behind.
    """
    assert process.share(is_behind=is_behind) == pytest.approx(share, rel=0.15)


def test_load_that_ends(process) -> None:
    """
    When the load ends, delivery takes the whole core again.
    """
    process.share(is_behind=False)
    process.wait(0.1, app=0.0, delivery=0.1)

    assert {process.wait(0.02, app=0.0, delivery=1.0) for _ in range(20)} == {0.0}


def test_no_wait_is_long(process) -> None:
    """
    However much delivery has taken at once, a load that ends is noticed soon.
    """
    process.share(is_behind=False)

    assert 0 < process.wait(5.0, app=0.5, delivery=0.5) <= 0.5
