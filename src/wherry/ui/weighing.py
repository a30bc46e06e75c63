"""Updates weighed beside the pages, one at a time: cutting one takes a processor for seconds or minutes.

What is cut is kept in the cache that releases use as well, so that a killed page loses only the layer it was at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from wherry.deliver.release_costs import ParcelCost
from wherry.errors import StoreError, WherryError
from wherry.model.digest import Digest

Pair = tuple[Digest, Digest]  # manifests of base and target


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Neither: it is being weighed."""

    cost: ParcelCost | None = None
    error: WherryError | None = None

    @property
    def is_known(self) -> bool:
        return self.cost is not None or self.error is not None


class Weighing:
    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._weights: dict[Pair, Weight] = {}

    def find(self, pair: Pair) -> Weight | None:
        """None: nobody asked for it, and nothing is weighed."""
        return self._weights.get(pair)

    def begin(self, pair: Pair, weigh: Callable[[], ParcelCost]) -> None:
        """Weigh it, unless that is done or under way; what failed is tried again."""
        known = self._weights.get(pair)
        if known is None or known.error is not None:
            self._weights[pair] = Weight()
            threading.Thread(target=self._weigh, args=(pair, weigh), daemon=True).start()

    def _weigh(self, pair: Pair, weigh: Callable[[], ParcelCost]) -> None:
        with self._turn:
            try:
                self._weights[pair] = Weight(cost=weigh())
            except WherryError as error:
                self._weights[pair] = Weight(error=error)
            except OSError as error:
                self._weights[pair] = Weight(error=StoreError(error.strerror or str(error), where=str(error.filename or "")))
